package mysql

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"regexp"
	"syscall"

	sqldriver "github.com/go-sql-driver/mysql"
)

// ConnectError is a connection that couldn't be made or made ready.
type ConnectError struct {
	Address, User string
	Hint          string // what mends it
	Err           error
}

// Error says where, as whom, why, and what mends it.
func (e *ConnectError) Error() string {
	s := fmt.Sprintf("connecting to MySQL at %s as %q: %s", e.Address, e.User, e.cause())
	if e.Hint != "" {
		s += "; mend: " + e.Hint
	}
	return s
}

// Unwrap returns the cause.
func (e *ConnectError) Unwrap() error { return e.Err }

// cause is the driver's text, which for a failed log-in holds the user and
// host but no secret.
func (e *ConnectError) cause() string { return e.Err.Error() }

func connectError(address, user string, err error) error {
	return &ConnectError{Address: address, User: user, Hint: connectHint(address, user, err), Err: err}
}

// clientHost finds the host that a server says a log-in came from.
var clientHost = regexp.MustCompile(`for user '.*'@'(.*?)'`)

func connectHint(address, user string, err error) string {
	host, _, _ := net.SplitHostPort(address) // config has checked it
	var server *sqldriver.MySQLError
	var unknownCA x509.UnknownAuthorityError
	var wrongName x509.HostnameError
	var badCert x509.CertificateInvalidError
	var dns *net.DNSError
	switch {
	case errors.As(err, &server) && (server.Number == 1045 || server.Number == 1698):
		from := "%"
		if m := clientHost.FindStringSubmatch(server.Message); m != nil {
			from = m[1]
		}
		account := quoteString(user) + "@" + quoteString(from)
		return fmt.Sprintf("set mysql.user and mysql.password to an account that exists, or make one as an administrator: "+
			"CREATE USER %s IDENTIFIED BY '<password>'; GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO %s; then run duplex check for the rest (an account that requires SSL refuses mysql.tls: off in the same words)", account, account)
	case errors.As(err, &server):
		return FaultOf(server.Number, server.Message).Hint
	case errors.Is(err, sqldriver.ErrNoTLS):
		return "the server offers no TLS: give it a certificate (ssl_cert, ssl_key), or, only where the network between is trusted, set mysql.tls: off"
	case errors.As(err, &unknownCA):
		return "set mysql.ca to the PEM file of the authority that signed the server's certificate (SELECT @@ssl_ca on the server names it)"
	case errors.As(err, &wrongName):
		return fmt.Sprintf("the server's certificate isn't for %q: use a name it is for in mysql.address, or set mysql.tls: verify-ca, which checks the authority but not the name", host)
	case errors.As(err, &badCert):
		return "the server's certificate isn't valid: renew it, or correct the clock of this machine"
	case errors.As(err, &dns):
		return fmt.Sprintf("the name %q can't be resolved: correct mysql.address", host)
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nothing listens there: start the server, or correct mysql.address (the server's @@port and @@bind_address)"
	case errors.Is(err, sqldriver.ErrUnknownPlugin):
		return fmt.Sprintf("as an administrator: ALTER USER %s IDENTIFIED WITH caching_sha2_password BY '<password>'", quoteString(user))
	case isTimeout(err):
		return "no answer: check mysql.address and that no firewall drops the packets"
	}
	return ""
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}
