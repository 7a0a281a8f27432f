package topics

import (
	"fmt"
	"time"

	"duplex/config"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// maxRead bounds what one answer of a broker may make us allocate, in bytes.
// A row of 64 MiB, before and after, must fit.
const maxRead = 192 << 20

// Client returns the options that every client of that Kafka needs. The error
// tells which file of the TLS settings can't be read.
func Client(cfg config.Kafka) ([]kgo.Opt, error) {
	opts := []kgo.Opt{
		kgo.SeedBrokers(cfg.Brokers...),
		kgo.ClientID("duplex"),
		// A topic is used right after it was made; the default would look for
		// it again only after five seconds.
		kgo.MetadataMinAge(100 * time.Millisecond),
		kgo.BrokerMaxReadBytes(maxRead),
		kgo.DialTimeout(5 * time.Second),
	}
	tls, err := cfg.TLSConfig()
	if err != nil {
		return nil, err
	}
	if tls != nil {
		opts = append(opts, kgo.DialTLSConfig(tls))
	}
	password := cfg.SASL.Password.Reveal()
	switch cfg.SASL.Mechanism {
	case "":
	case "PLAIN":
		opts = append(opts, kgo.SASL(plain.Auth{User: cfg.SASL.User, Pass: password}.AsMechanism()))
	case "SCRAM-SHA-256":
		opts = append(opts, kgo.SASL(scram.Auth{User: cfg.SASL.User, Pass: password}.AsSha256Mechanism()))
	case "SCRAM-SHA-512":
		opts = append(opts, kgo.SASL(scram.Auth{User: cfg.SASL.User, Pass: password}.AsSha512Mechanism()))
	default:
		return nil, fmt.Errorf("kafka.sasl.mechanism: %q is not known; mend: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512", cfg.SASL.Mechanism)
	}
	return opts, nil
}
