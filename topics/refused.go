package topics

import (
	"crypto/tls"
	"crypto/x509"
	"errors"

	"github.com/twmb/franz-go/pkg/kerr"
)

// RefusedError says that a Kafka and this program don't trust each other.
// Trying again doesn't mend it: a person must.
type RefusedError struct {
	err  error
	Mend string
}

// Error gives the cause and the mend.
func (e *RefusedError) Error() string { return e.err.Error() + "; mend: " + e.Mend }
func (e *RefusedError) Unwrap() error { return e.err }

// Refused reports whether err means that a Kafka refused the log-in or that
// its certificate was refused, and what mends it.
func Refused(err error) (*RefusedError, bool) {
	var known *RefusedError
	var certificate *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	var header tls.RecordHeaderError
	switch {
	case errors.As(err, &known):
		return known, true
	case errors.Is(err, kerr.SaslAuthenticationFailed), errors.Is(err, kerr.UnsupportedSaslMechanism), errors.Is(err, kerr.IllegalSaslState):
		return &RefusedError{err, "correct kafka.sasl (mechanism, user, password) in the process file, or make the user in Kafka: " +
			"kafka-configs.sh --alter --entity-type users --entity-name <user> --add-config 'SCRAM-SHA-512=[password=<password>]'"}, true
	case errors.As(err, &host):
		return &RefusedError{err, "name the brokers in kafka.brokers and in their advertised.listeners as their certificates do, or set kafka.tls: verify-ca"}, true
	case errors.As(err, &certificate), errors.As(err, &authority):
		return &RefusedError{err, "set kafka.ca to the PEM file of the authority that signed the brokers' certificates"}, true
	case errors.As(err, &header):
		return &RefusedError{err, "set kafka.tls: off, or put the port of Kafka's TLS listener into kafka.brokers: this one doesn't speak TLS"}, true
	default:
		return nil, false
	}
}
