// Package config reads the process file: what is local to one region and
// secret, namely how to reach its MySQL, its Kafka and its schema registry.
//
// Reading is strict. A key that isn't known, a value of the wrong kind or out
// of range, a reference to a secret that isn't there: each is refused with the
// setting, the place and the way to mend it, and all of them at once. A process
// that starts therefore runs with the settings that its file shows.
package config

import (
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"time"

	"duplex/change"
)

// EmbeddedName stands in place of an address for a Kafka or a registry that
// runs inside the process, for trials.
const EmbeddedName = "embedded"

// Process is the process file of one region.
type Process struct {
	Region change.Region `yaml:"region"`
	// Engine is the kind of the database: EngineMySQL or EngineMariaDB.
	Engine   string   `yaml:"engine"`
	MySQL    MySQL    `yaml:"mysql"`
	Kafka    Kafka    `yaml:"kafka"`
	Registry Registry `yaml:"registry"`
	// Peers tells of the regions that have a Kafka and a registry of their own.
	// A region that isn't here uses this region's.
	Peers map[change.Region]Peer `yaml:"peers"`
	// Listen is the address of health, metrics and status.
	Listen string `yaml:"listen"`
	// Heartbeat is how often capture publishes a sign of life, 0: never.
	Heartbeat time.Duration `yaml:"heartbeat"`
	// Canary is how often apply writes a canary into the region's database, by which the other regions measure
	// the delay; 0: never.
	Canary    time.Duration `yaml:"canary"`
	Conflicts Conflicts     `yaml:"conflicts"`
}

// Conflicts bounds what apply remembers of rows that several regions may write, for each
// stream.
type Conflicts struct {
	Memory Size `yaml:"memory"`
	// SpillDir is the folder of a file, without a name, for what is more.
	SpillDir   string `yaml:"spill_dir"`
	SpillLimit Size   `yaml:"spill_limit"` // of that file
}

// DefaultConflicts returns what the file needn't say.
func DefaultConflicts() Conflicts {
	return Conflicts{Memory: 192 * MiB, SpillDir: os.TempDir(), SpillLimit: 16 * GiB}
}

// The engines.
const (
	EngineMySQL   = "mysql"
	EngineMariaDB = "mariadb"
)

// MySQL tells how to reach the region's database.
type MySQL struct {
	Address  string `yaml:"address"` // host:port
	User     string `yaml:"user"`
	Password Secret `yaml:"password"`
	TLS      TLS    `yaml:",inline"`
	// ServerID is the replica id under which the binlog is read; no two
	// replicas of one server may have the same. By default it is derived from
	// the region's id.
	ServerID uint32 `yaml:"server_id"`
}

// Kafka tells how to reach a Kafka, and how topics are created in it.
type Kafka struct {
	Brokers           []string      `yaml:"brokers"` // host:port each, or EmbeddedName alone
	ReplicationFactor int           `yaml:"replication_factor"`
	Partitions        int           `yaml:"partitions"` // of each table's topic
	Retention         time.Duration `yaml:"retention"`  // of each table's topic
	TLS               TLS           `yaml:",inline"`
	SASL              SASL          `yaml:"sasl"`
	Embedded          Embedded      `yaml:"embedded"`
}

// IsEmbedded reports whether the Kafka runs inside the process.
func (k Kafka) IsEmbedded() bool { return len(k.Brokers) == 1 && k.Brokers[0] == EmbeddedName }

// SASL tells how to log in to a Kafka; no mechanism means not at all.
type SASL struct {
	Mechanism string `yaml:"mechanism"` // PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512
	User      string `yaml:"user"`
	Password  Secret `yaml:"password"`
}

// Registry tells how to reach a Confluent-compatible schema registry.
type Registry struct {
	URL      string   `yaml:"url"` // http or https, or EmbeddedName
	User     string   `yaml:"user"`
	Password Secret   `yaml:"password"`
	CA       string   `yaml:"ca"`   // PEM file; the system's authorities if empty
	Cert     string   `yaml:"cert"` // PEM file of the client's certificate
	Key      string   `yaml:"key"`  // PEM file of its key
	Embedded Embedded `yaml:"embedded"`
}

// IsEmbedded reports whether the registry runs inside the process.
func (r Registry) IsEmbedded() bool { return r.URL == EmbeddedName }

// Embedded tells where a Kafka or registry inside the process keeps its data
// and which loopback address it listens on.
type Embedded struct {
	Dir    string `yaml:"dir"`
	Listen string `yaml:"listen"`
}

// Peer tells how to read what another region publishes.
type Peer struct {
	Kafka    Kafka    `yaml:"kafka"`
	Registry Registry `yaml:"registry"`
}

// The defaults that don't depend on another setting.
const (
	DefaultListen            = "127.0.0.1:8301"
	DefaultEmbeddedKafka     = "127.0.0.1:9092"
	DefaultEmbeddedRegistry  = "127.0.0.1:8081"
	DefaultReplicationFactor = 3
	DefaultPartitions        = 4
	DefaultRetention         = 168 * time.Hour
	DefaultCanary            = time.Second
)

// Load reads the process file at path. Relative paths in the file start from
// the file's own folder. The error tells all that is wrong at once; each part
// of it is an *Invalid.
func Load(path string) (*Process, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading process file: %w", err)
	}
	return Parse(path, data)
}

// Parse reads a process file's content. The name is that of the file: errors
// show it, and its folder is where relative paths start.
func Parse(name string, data []byte) (*Process, error) {
	doc, err := parseDocument(name, data)
	if err != nil {
		return nil, err
	}
	folder := filepath.Dir(name)
	doc.expandReferences(folder)
	var p Process
	if err := doc.decode(&p); err != nil {
		return nil, err
	}
	p.setDefaults(doc)
	p.anchorPaths(folder)
	if err := p.Validate(); err != nil {
		return nil, InFile(name, err)
	}
	return &p, nil
}

// setDefaults fills in what the file leaves out. It asks the document and not
// the value, so that a zero which somebody wrote is refused, not replaced.
func (p *Process) setDefaults(doc *document) {
	preset(doc, "engine", &p.Engine, EngineMySQL)
	preset(doc, "listen", &p.Listen, DefaultListen)
	preset(doc, "canary", &p.Canary, DefaultCanary)
	preset(doc, "mysql.tls", &p.MySQL.TLS.Mode, TLSVerifyFull)
	preset(doc, "mysql.server_id", &p.MySQL.ServerID, serverID(p.Region))
	conflicts := DefaultConflicts()
	preset(doc, "conflicts.memory", &p.Conflicts.Memory, conflicts.Memory)
	preset(doc, "conflicts.spill_dir", &p.Conflicts.SpillDir, conflicts.SpillDir)
	preset(doc, "conflicts.spill_limit", &p.Conflicts.SpillLimit, conflicts.SpillLimit)
	p.Kafka.setDefaults(doc, "kafka")
	if data := filepath.Join("duplex-data", string(p.Region)); p.Region != "" {
		if p.Kafka.IsEmbedded() {
			preset(doc, "kafka.embedded.dir", &p.Kafka.Embedded.Dir, filepath.Join(data, "kafka"))
			preset(doc, "kafka.embedded.listen", &p.Kafka.Embedded.Listen, DefaultEmbeddedKafka)
		}
		if p.Registry.IsEmbedded() {
			preset(doc, "registry.embedded.dir", &p.Registry.Embedded.Dir, filepath.Join(data, "registry"))
			preset(doc, "registry.embedded.listen", &p.Registry.Embedded.Listen, DefaultEmbeddedRegistry)
		}
	}
	for region, peer := range p.Peers {
		peer.Kafka.setDefaults(doc, "peers."+string(region)+".kafka")
		p.Peers[region] = peer
	}
}

func (k *Kafka) setDefaults(doc *document, path string) {
	replicas := DefaultReplicationFactor
	if k.IsEmbedded() {
		replicas = 1
	}
	preset(doc, path+".replication_factor", &k.ReplicationFactor, replicas)
	preset(doc, path+".partitions", &k.Partitions, DefaultPartitions)
	preset(doc, path+".retention", &k.Retention, DefaultRetention)
	preset(doc, path+".tls", &k.TLS.Mode, TLSOff)
}

func preset[T any](doc *document, path string, into *T, value T) {
	if !doc.has(path) {
		*into = value
	}
}

// serverID derives a replica id from the region's id: the same at every start,
// and far above the small numbers that administrators give by hand.
func serverID(region change.Region) uint32 {
	const smallest = 1 << 24
	h := fnv.New32a()
	h.Write([]byte("duplex " + region))
	return max(h.Sum32(), h.Sum32()%smallest+smallest)
}

// anchorPaths makes every relative path start from the file's folder.
func (p *Process) anchorPaths(folder string) {
	anchor := func(paths ...*string) {
		for _, path := range paths {
			if *path != "" && !filepath.IsAbs(*path) {
				*path = filepath.Join(folder, *path)
			}
		}
	}
	anchorKafka := func(k *Kafka) { anchor(&k.TLS.CA, &k.TLS.Cert, &k.TLS.Key, &k.Embedded.Dir) }
	anchorRegistry := func(r *Registry) { anchor(&r.CA, &r.Cert, &r.Key, &r.Embedded.Dir) }

	anchor(&p.Conflicts.SpillDir)
	anchor(&p.MySQL.TLS.CA, &p.MySQL.TLS.Cert, &p.MySQL.TLS.Key)
	anchorKafka(&p.Kafka)
	anchorRegistry(&p.Registry)
	for region, peer := range p.Peers {
		anchorKafka(&peer.Kafka)
		anchorRegistry(&peer.Registry)
		p.Peers[region] = peer
	}
}
