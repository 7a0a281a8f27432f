package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"time"

	"duplex/change"
)

var regionForm = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`)

// CheckRegion tells what is wrong with a region's id, nil if nothing is.
// The setting is the path that the error shall show.
func CheckRegion(setting string, region change.Region) error {
	if regionForm.MatchString(string(region)) {
		return nil
	}
	return &Invalid{Setting: setting, Reason: fmt.Sprintf("%q is not a region's id", region),
		Mend: "use 1 to 32 small letters, digits and hyphens, a letter first, such as east"}
}

// CheckRange tells whether a number lies outside its range, nil if not.
func CheckRange[N int | uint32 | Size | time.Duration](setting string, value, least, most N) error {
	if value >= least && value <= most {
		return nil
	}
	return &Invalid{Setting: setting, Reason: fmt.Sprintf("%v is out of range", value), Mend: fmt.Sprintf("give %v to %v", least, most)}
}

// CheckChoice tells whether a value is none of those accepted, nil if it is one.
func CheckChoice(setting, value string, accepted ...string) error {
	if slices.Contains(accepted, value) {
		return nil
	}
	return &Invalid{Setting: setting, Reason: fmt.Sprintf("there is no %q", value), Mend: suggestion(value, accepted)}
}

// Validate tells all that is wrong with the settings, each part an *Invalid.
func (p *Process) Validate() error {
	problems := []error{
		CheckRegion("region", p.Region),
		CheckChoice("engine", p.Engine, EngineMySQL, EngineMariaDB),
		checkAddress("listen", p.Listen),
		checkPause("heartbeat", p.Heartbeat),
		checkPause("canary", p.Canary),
		p.Conflicts.validate(),
		p.MySQL.validate(),
		p.Kafka.validate("kafka"),
		p.Registry.validate("registry"),
		checkLoopback("kafka.embedded.listen", p.Kafka.Embedded, p.Kafka.IsEmbedded()),
		checkLoopback("registry.embedded.listen", p.Registry.Embedded, p.Registry.IsEmbedded()),
	}
	for region, peer := range p.Peers {
		problems = append(problems, peer.validate("peers."+string(region), region, p.Region))
	}
	return errors.Join(problems...)
}

// checkPause checks how often something is done, 0 for never.
func checkPause(setting string, every time.Duration) error {
	if every == 0 {
		return nil
	}
	return CheckRange(setting, every, time.Second, 24*time.Hour)
}

func (c Conflicts) validate() error {
	return errors.Join(
		CheckRange("conflicts.memory", c.Memory, MiB, 1024*GiB),
		required("conflicts.spill_dir", c.SpillDir, "name a folder, or leave the line out for the system's own"),
		CheckRange("conflicts.spill_limit", c.SpillLimit, MiB, 65536*GiB),
	)
}

func (m MySQL) validate() error {
	return errors.Join(
		checkAddress("mysql.address", m.Address),
		required("mysql.user", m.User, `create one and name it, such as mysql: {user: duplex}`),
		m.TLS.validate("mysql"),
		CheckRange("mysql.server_id", m.ServerID, 1, 1<<32-1),
	)
}

func (k Kafka) validate(path string) error {
	problems := []error{
		CheckRange(path+".replication_factor", k.ReplicationFactor, 1, 15),
		CheckRange(path+".partitions", k.Partitions, 1, 1024),
		CheckRange(path+".retention", k.Retention, time.Minute, 10*365*24*time.Hour),
		k.TLS.validate(path),
		k.SASL.validate(path + ".sasl"),
	}
	if len(k.Brokers) == 0 {
		problems = append(problems, &Invalid{Setting: path + ".brokers", Reason: "no broker is named",
			Mend: `name one or more, such as brokers: ["127.0.0.1:9092"], or brokers: [embedded] for a trial`})
	}
	if k.IsEmbedded() {
		return errors.Join(append(problems, k.validateEmbedded(path))...)
	}
	for i, broker := range k.Brokers {
		setting := fmt.Sprintf("%s.brokers[%d]", path, i)
		if broker == EmbeddedName {
			problems = append(problems, &Invalid{Setting: setting, Reason: "embedded stands beside other brokers", Mend: "let it stand alone: brokers: [embedded]"})
			continue
		}
		problems = append(problems, checkAddress(setting, broker))
	}
	return errors.Join(append(problems, checkUnused(path+".embedded", k.Embedded, "brokers: [embedded]"))...)
}

func (k Kafka) validateEmbedded(path string) error {
	var problems []error
	if k.ReplicationFactor != 1 {
		problems = append(problems, &Invalid{Setting: path + ".replication_factor", Reason: fmt.Sprintf("%d copies can't be kept by one embedded broker", k.ReplicationFactor), Mend: "leave the line out, or give 1"})
	}
	if k.TLS.Mode != TLSOff || k.SASL != (SASL{}) {
		problems = append(problems, &Invalid{Setting: path, Reason: "tls and sasl have no effect on the embedded broker, which only this machine can reach", Mend: "leave them out"})
	}
	return errors.Join(problems...)
}

func (s SASL) validate(path string) error {
	if s == (SASL{}) {
		return nil
	}
	return errors.Join(
		CheckChoice(path+".mechanism", s.Mechanism, "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"),
		required(path+".user", s.User, "name the user to log in as"),
		required(path+".password", string(s.Password), "give it as ${env:NAME} or ${file:path}"),
	)
}

func (t TLS) validate(path string) error {
	err := CheckChoice(path+".tls", t.Mode, TLSOff, TLSVerifyCA, TLSVerifyFull)
	if err == nil && t.Mode == TLSOff && (t.CA != "" || t.Cert != "" || t.Key != "") {
		return &Invalid{Setting: path + ".tls", Reason: "ca, cert and key have no effect while it is off", Mend: "set tls: verify-full, or leave them out"}
	}
	return errors.Join(err, checkPair(path, t.Cert, t.Key))
}

func (r Registry) validate(path string) error {
	if r.IsEmbedded() {
		r.URL, r.Embedded = "", Embedded{}
		if r != (Registry{}) {
			return &Invalid{Setting: path, Reason: "user, password, ca, cert and key have no effect on the embedded registry", Mend: "leave them out"}
		}
		return nil
	}
	problems := []error{checkPair(path, r.Cert, r.Key), checkUnused(path+".embedded", r.Embedded, "url: embedded")}
	// The URL's text isn't shown where it may hold a password.
	u, err := url.Parse(r.URL)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		problems = append(problems, &Invalid{Setting: path + ".url", Reason: "this is not the address of a schema registry", Mend: `write such as url: "http://127.0.0.1:8081", or url: embedded for a trial`})
	case u.User != nil:
		problems = append(problems, &Invalid{Setting: path + ".url", Reason: "it holds a user or password", Mend: "put them into user and password beside it"})
	case u.Scheme == "http" && (r.CA != "" || r.Cert != "" || r.Key != ""):
		problems = append(problems, &Invalid{Setting: path + ".url", Reason: "ca, cert and key have no effect with http", Mend: "write https, or leave them out"})
	}
	if r.User == "" && r.Password != "" {
		problems = append(problems, &Invalid{Setting: path + ".user", Reason: "there is a password but no user", Mend: "name the user too"})
	}
	return errors.Join(problems...)
}

func (peer Peer) validate(path string, region, own change.Region) error {
	problems := []error{CheckRegion(path, region), peer.Kafka.validate(path + ".kafka"), peer.Registry.validate(path + ".registry")}
	if region == own {
		problems = append(problems, &Invalid{Setting: path, Reason: "this is the region itself", Mend: "name other regions only; its own Kafka stands under kafka"})
	}
	if peer.Kafka.IsEmbedded() || peer.Registry.IsEmbedded() {
		problems = append(problems, &Invalid{Setting: path, Reason: "another region's Kafka or registry can't be embedded in this process",
			Mend: "give the address it listens on, such as brokers: [\"127.0.0.1:9093\"] and url: \"http://127.0.0.1:8082\""})
	}
	return errors.Join(problems...)
}

func required(setting, value, mend string) error {
	if value != "" {
		return nil
	}
	return &Invalid{Setting: setting, Reason: "it is missing", Mend: mend}
}

func checkAddress(setting, address string) error {
	host, port, err := net.SplitHostPort(address)
	if err == nil && host != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err == nil && n > 0 {
			return nil
		}
	}
	return &Invalid{Setting: setting, Reason: fmt.Sprintf("%q is not an address", address), Mend: "write host:port, such as 127.0.0.1:3306"}
}

// checkLoopback keeps what is embedded on this machine: it asks nobody who
// they are.
func checkLoopback(setting string, e Embedded, used bool) error {
	if !used {
		return nil
	}
	if err := checkAddress(setting, e.Listen); err != nil {
		return err
	}
	if host, _, _ := net.SplitHostPort(e.Listen); host != "127.0.0.1" {
		return &Invalid{Setting: setting, Reason: fmt.Sprintf("%q can be reached from elsewhere, and the embedded service asks nobody for a password", e.Listen), Mend: "write 127.0.0.1:port"}
	}
	return nil
}

func checkPair(path, cert, key string) error {
	if (cert == "") == (key == "") {
		return nil
	}
	return &Invalid{Setting: path + ".cert", Reason: "cert and key are of use only together", Mend: "give both, or neither"}
}

func checkUnused(setting string, e Embedded, needs string) error {
	if e == (Embedded{}) {
		return nil
	}
	return &Invalid{Setting: setting, Reason: "it has no effect without " + needs, Mend: "leave it out, or set that"}
}
