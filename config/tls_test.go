package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// authority signs certificates for the tests.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

func newAuthority(t *testing.T, name string) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	template.Subject.CommonName = name
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), name+".pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return authority{cert, key, file}
}

func (a authority) server(t *testing.T, name string) net.Listener {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(2), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{name}}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.(*tls.Conn).Handshake() // a refused client is the test's business
			c.Close()
		}
	}()
	return l
}

func TestTLSModes(t *testing.T) {
	ours, theirs := newAuthority(t, "ours"), newAuthority(t, "theirs")
	server := ours.server(t, "db.example")
	tests := []struct {
		name, host string
		tls        TLS
		accepted   bool
	}{
		{"full, right name", "db.example", TLS{Mode: TLSVerifyFull, CA: ours.file}, true},
		{"full, other name", "other.example", TLS{Mode: TLSVerifyFull, CA: ours.file}, false},
		{"ca, other name", "other.example", TLS{Mode: TLSVerifyCA, CA: ours.file}, true},
		{"ca, other authority", "db.example", TLS{Mode: TLSVerifyCA, CA: theirs.file}, false},
		{"full, system's authorities", "db.example", TLS{Mode: TLSVerifyFull}, false},
		{"ca, system's authorities", "db.example", TLS{Mode: TLSVerifyCA}, false},
	}
	for _, test := range tests {
		c, err := MySQL{Address: test.host + ":3306", TLS: test.tls}.TLSConfig()
		if err != nil {
			t.Fatal(err)
		}
		if c.MinVersion != tls.VersionTLS12 {
			t.Errorf("%s: minimum version %x", test.name, c.MinVersion)
		}
		conn, err := tls.Dial("tcp", server.Addr().String(), c)
		if (err == nil) != test.accepted {
			t.Errorf("%s: %v", test.name, err)
		}
		if err == nil {
			conn.Close()
		}
	}
}

func TestTLSOffAndMistakes(t *testing.T) {
	if c, err := (MySQL{Address: "a:1", TLS: TLS{Mode: TLSOff}}).TLSConfig(); c != nil || err != nil {
		t.Errorf("off gives %v, %v", c, err)
	}
	if c, err := (Registry{URL: "http://r"}).TLSConfig(); c != nil || err != nil {
		t.Errorf("http gives %v, %v", c, err)
	}
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, wrong := range []TLS{{Mode: TLSVerifyFull, CA: empty}, {Mode: TLSVerifyFull, CA: empty + "x"}, {Mode: TLSVerifyFull, Cert: empty, Key: empty}, {Mode: "on"}, {}} {
		if c, err := wrong.Config("h"); err == nil {
			t.Errorf("%+v gives %v", wrong, c)
		}
	}
}
