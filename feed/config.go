package feed

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"duplex/change"
	"duplex/config"
	"duplex/tasks"
	"duplex/topics"
)

// Config says what to read and from where.
type Config struct {
	Kafka    Kafka
	Registry Registry
	// Region is the id of the region whose topics are read, such as "east".
	Region string
	// Tables names the tables to read by patterns db.table, in which * stands
	// for any characters and ? for one; a dot within a name is written \. .
	// None means every table. Exclude takes tables out of it.
	Tables, Exclude []string
	// Accept tells whether the changes that a region made are wanted; its answer
	// is remembered. What isn't wanted is dropped by its header, undecoded. Nil
	// means all. Only and Except make the usual ones.
	Accept func(origin string) bool
	// Group is the consumer group that keeps the position. A Reader may do
	// without: it then begins at Start each time, and can't Commit.
	Group string
	// Start is where to begin if the group has no position yet.
	Start Start
}

// Kafka tells how to reach a Kafka.
type Kafka struct {
	// Brokers holds host:port of at least one.
	Brokers []string
	TLS     TLS
	// Mechanism is PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512; empty means that no
	// log-in is asked for.
	Mechanism, User, Password string
}

// TLS tells how a connection is protected.
type TLS struct {
	// Mode is "off" (or empty), "verify-ca" or "verify-full".
	Mode string
	// CA, Cert and Key are PEM files: authorities (the system's if empty), and
	// a client's certificate and key.
	CA, Cert, Key string
}

// Registry tells how to reach a Confluent-compatible schema registry.
type Registry struct {
	// URL is http or https, with the path that the registry asks for.
	URL            string
	User, Password string
	// CA, Cert and Key are PEM files, for https.
	CA, Cert, Key string
}

// Start is where reading begins. The zero Start is Earliest.
type Start struct {
	latest bool
	at     time.Time
}

// Earliest begins with what Kafka still has. Where retention has taken
// something away, that is the first transaction from which on every one is
// whole.
func Earliest() Start { return Start{} }

// Latest begins with what is published from now on.
func Latest() Start { return Start{latest: true} }

// At begins with the first transaction that was published at t or later.
func At(t time.Time) Start { return Start{at: t} }

// Only accepts what the named regions' own applications changed. Only(region)
// of the region that is read leaves out what Duplex wrote there for others: a
// program that reads every region so sees each change once.
func Only(origins ...string) func(origin string) bool {
	return func(origin string) bool { return slices.Contains(origins, origin) }
}

// Except accepts all but what the named regions' applications changed.
func Except(origins ...string) func(origin string) bool {
	return func(origin string) bool { return !slices.Contains(origins, origin) }
}

// check tells all that is wrong with the settings.
func (c *Config) check() error {
	var problems []error
	if len(c.Kafka.Brokers) == 0 || slices.Contains(c.Kafka.Brokers, "") {
		problems = append(problems, &config.Invalid{Setting: "Kafka.Brokers", Reason: "no broker is named", Mend: `name at least one as host:port, such as "127.0.0.1:9092"`})
	}
	if err := c.Registry.check(); err != nil {
		problems = append(problems, err)
	}
	if err := config.CheckRegion("Region", change.Region(c.Region)); err != nil {
		problems = append(problems, err)
	}
	if c.Kafka.Mechanism != "" {
		problems = append(problems, config.CheckChoice("Kafka.Mechanism", c.Kafka.Mechanism, "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"))
	}
	problems = append(problems, config.CheckChoice("Kafka.TLS.Mode", c.Kafka.TLS.mode(), config.TLSOff, config.TLSVerifyCA, config.TLSVerifyFull))
	if _, err := c.tables(); err != nil {
		problems = append(problems, err)
	}
	return wrapConfig(errors.Join(problems...))
}

func (r Registry) check() error {
	if r.URL == "" {
		return &config.Invalid{Setting: "Registry.URL", Reason: "it is empty", Mend: `give the address of the registry, such as "http://127.0.0.1:8081"`}
	}
	return nil
}

func wrapConfig(err error) error {
	if err == nil {
		return nil
	}
	return &ConfigError{err}
}

func (t TLS) mode() string {
	if t.Mode == "" {
		return config.TLSOff
	}
	return t.Mode
}

func (c *Config) kafka() config.Kafka {
	k := c.Kafka
	return config.Kafka{
		Brokers: k.Brokers, TLS: config.TLS{Mode: k.TLS.mode(), CA: k.TLS.CA, Cert: k.TLS.Cert, Key: k.TLS.Key},
		SASL: config.SASL{Mechanism: k.Mechanism, User: k.User, Password: config.Secret(k.Password)},
	}
}

func (r Registry) config() config.Registry {
	return config.Registry{URL: r.URL, User: r.User, Password: config.Secret(r.Password), CA: r.CA, Cert: r.Cert, Key: r.Key}
}

func (c *Config) tables() (tasks.Tables, error) {
	include := c.Tables
	if len(include) == 0 {
		include = []string{"*.*"}
	}
	return tasks.NewTables(include, c.Exclude)
}

// wanted returns a function that tells whether a topic is of a table to read;
// it remembers its answers.
func (c *Config) wanted() (func(topic string) bool, error) {
	tables, err := c.tables()
	if err != nil {
		return nil, fmt.Errorf("reading Tables: %w", err)
	}
	known := map[string]bool{}
	return func(topic string) bool {
		is, ok := known[topic]
		if !ok {
			region, db, table, parsed := topics.ParseTable(topic)
			is = parsed && string(region) == c.Region && tables.Match(db, table)
			known[topic] = is
		}
		return is
	}, nil
}

// accept is Accept by region, with each answer remembered.
func (c *Config) accept() func(change.Region) bool {
	if c.Accept == nil {
		return func(change.Region) bool { return true }
	}
	known := map[change.Region]bool{}
	return func(origin change.Region) bool {
		is, ok := known[origin]
		if !ok {
			is = c.Accept(string(origin))
			if len(known) < maxOrigins {
				known[origin] = is
			}
		}
		return is
	}
}

// maxOrigins bounds what is remembered of names that a topic makes up.
const maxOrigins = 1024
