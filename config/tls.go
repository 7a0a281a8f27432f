package config

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"slices"
)

// The TLS modes.
const (
	TLSOff        = "off"
	TLSVerifyCA   = "verify-ca"   // the server's certificate must come from a known authority
	TLSVerifyFull = "verify-full" // and must be made out to the name that is called
)

// TLS tells how a connection is protected. The files are PEM.
type TLS struct {
	Mode string `yaml:"tls"`
	CA   string `yaml:"ca"`   // authorities; the system's if empty
	Cert string `yaml:"cert"` // the client's certificate, if the server asks for one
	Key  string `yaml:"key"`
}

// TLSConfig returns what a MySQL driver needs, nil for TLS off.
func (m MySQL) TLSConfig() (*tls.Config, error) {
	host, _, err := net.SplitHostPort(m.Address)
	if err != nil {
		return nil, fmt.Errorf("reading mysql.address: %w", err)
	}
	c, err := m.TLS.Config(host)
	if err != nil {
		return nil, fmt.Errorf("preparing TLS for mysql: %w", err)
	}
	return c, nil
}

// TLSConfig returns what a Kafka client needs, nil for TLS off. It has no
// server name, since each broker has its own; the client fills it in.
func (k Kafka) TLSConfig() (*tls.Config, error) {
	c, err := k.TLS.Config("")
	if err != nil {
		return nil, fmt.Errorf("preparing TLS for kafka: %w", err)
	}
	return c, nil
}

// TLSConfig returns what an HTTP client needs, nil for a registry without TLS.
func (r Registry) TLSConfig() (*tls.Config, error) {
	u, err := url.Parse(r.URL)
	if err != nil {
		return nil, errors.New("reading registry.url: not a URL")
	}
	mode := TLSOff
	if u.Scheme == "https" {
		mode = TLSVerifyFull
	}
	c, err := TLS{mode, r.CA, r.Cert, r.Key}.Config(u.Hostname())
	if err != nil {
		return nil, fmt.Errorf("preparing TLS for registry: %w", err)
	}
	return c, nil
}

// Config returns the settings for a connection to the named server, nil for
// TLS off. An empty name is for clients that put in the name themselves.
func (t TLS) Config(serverName string) (*tls.Config, error) {
	if t.Mode == TLSOff {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: serverName}
	if t.CA != "" {
		pem, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, fmt.Errorf("reading ca: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("reading ca: %s holds no certificate in PEM form", t.CA)
		}
	}
	if t.Cert != "" {
		pair, err := tls.LoadX509KeyPair(t.Cert, t.Key)
		if err != nil {
			return nil, fmt.Errorf("reading cert and key: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	switch t.Mode {
	case TLSVerifyFull:
		return c, nil
	case TLSVerifyCA:
		verifyChainOnly(c)
		return c, nil
	default:
		return nil, fmt.Errorf("reading tls mode: %q is none of off, verify-ca, verify-full", t.Mode)
	}
}

// verifyChainOnly replaces the check of crypto/tls, which can't leave out the
// name, by one of the chain alone.
func verifyChainOnly(c *tls.Config) {
	roots := c.RootCAs
	c.InsecureSkipVerify = true
	c.VerifyConnection = func(state tls.ConnectionState) error {
		if len(state.PeerCertificates) == 0 {
			return errors.New("verifying server certificate: the server sent none")
		}
		chain := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool()}
		for _, cert := range state.PeerCertificates[1:] {
			chain.Intermediates.AddCert(cert)
		}
		if _, err := state.PeerCertificates[0].Verify(chain); err != nil {
			return fmt.Errorf("verifying server certificate: %w", err)
		}
		return nil
	}
}

// Certificates returns the files with certificates that the process file names, each once.
func (p *Process) Certificates() (files []string) {
	add := func(all ...string) {
		for _, file := range all {
			if file != "" && !slices.Contains(files, file) {
				files = append(files, file)
			}
		}
	}
	of := func(k *Kafka, r *Registry) { add(k.TLS.CA, k.TLS.Cert, r.CA, r.Cert) }
	add(p.MySQL.TLS.CA, p.MySQL.TLS.Cert)
	of(&p.Kafka, &p.Registry)
	for _, region := range slices.Sorted(maps.Keys(p.Peers)) {
		peer := p.Peers[region]
		of(&peer.Kafka, &peer.Registry)
	}
	return files
}
