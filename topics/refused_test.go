package topics

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
)

// What a person must mend is told apart from what passes by itself, however
// deep it is wrapped.
func TestRefused(t *testing.T) {
	deep := func(err error) error { return fmt.Errorf("reading topic a: %w", fmt.Errorf("unable to dial: %w", err)) }
	for _, tt := range []struct {
		err  error
		mend string // "" if trying again may help
	}{
		{deep(kerr.SaslAuthenticationFailed), "kafka.sasl"},
		{deep(kerr.UnsupportedSaslMechanism), "kafka.sasl"},
		{deep(&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}), "kafka.ca"},
		{deep(x509.UnknownAuthorityError{}), "kafka.ca"},
		{deep(&tls.CertificateVerificationError{Err: x509.HostnameError{Host: "a", Certificate: &x509.Certificate{}}}), "verify-ca"},
		{deep(tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}), "kafka.tls: off"},
		{deep(io.EOF), ""},
		{deep(kerr.NotLeaderForPartition), ""},
		{deep(context.DeadlineExceeded), ""},
		{nil, ""},
	} {
		refused, ok := Refused(tt.err)
		if ok != (tt.mend != "") {
			t.Errorf("%v: refused %t", tt.err, ok)
			continue
		}
		if !ok {
			continue
		}
		if !strings.Contains(refused.Error(), tt.mend) || !strings.Contains(refused.Error(), "mend:") || !errors.Is(refused, tt.err) {
			t.Errorf("%v", refused)
		}
		again, _ := Refused(fmt.Errorf("capturing: %w", refused))
		if strings.Count(again.Error(), "mend:") != 1 {
			t.Errorf("told twice: %v", again)
		}
	}
}
