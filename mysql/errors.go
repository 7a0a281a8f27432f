package mysql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"

	sqldriver "github.com/go-sql-driver/mysql"
)

// Class says what the one who got an error does next.
type Class uint8

const (
	// Stop: the same statement will fail again until a person mends something.
	Stop Class = iota
	// Retry: roll back and try the whole batch again.
	Retry
	// Reconnect: the connection is gone. What it last sent may or may not have
	// been committed: read duplex.progress on a new one before going on.
	Reconnect
)

func (c Class) String() string { return [...]string{"stop", "retry", "reconnect"}[c] }

// Fault is what an error of the server or of the connection means. It is an
// error itself, one that can be logged and shown: its text never holds a
// value of a row, while that of the error inside it may.
type Fault struct {
	Number uint16 // the server's, 0 where the server said nothing
	Name   string // the server's symbol, such as ER_LOCK_DEADLOCK
	Class  Class
	// Waiting, with Retry: the server refuses until someone or something
	// changes it (read-only, disk full, too many connections): try again
	// slowly and show Why.
	Waiting bool
	Why     string // the cause, as a sentence without a full stop
	Detail  string // the names in the server's message; no values
	Hint    string // what mends it; empty where nothing needs to be done
	err     error
}

// Error gives number, name, cause, detail and hint.
func (f Fault) Error() string {
	var b strings.Builder
	if f.Number != 0 {
		fmt.Fprintf(&b, "MySQL error %d", f.Number)
		if f.Name != "" {
			fmt.Fprintf(&b, " %s", f.Name)
		}
		b.WriteString(": ")
	}
	b.WriteString(f.Why)
	if f.Detail != "" {
		fmt.Fprintf(&b, " (%s)", f.Detail)
	}
	if f.Hint != "" {
		fmt.Fprintf(&b, "; mend: %s", f.Hint)
	}
	return b.String()
}

// Unwrap returns the error that was classified. Its text may hold row values.
func (f Fault) Unwrap() error { return f.err }

// Classify tells what err, returned by a connection of Open, means. An error
// that came neither from a server nor from the way to it is Stop, with its own
// text as Why.
func Classify(err error) Fault {
	var fault Fault
	var server *sqldriver.MySQLError
	var network net.Error
	switch {
	case errors.As(err, &fault):
		return fault
	case errors.As(err, &server):
		fault = FaultOf(server.Number, server.Message)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		// The driver closes a connection whose context ended.
		fault = Fault{Class: Reconnect, Why: "the statement was given up: " + err.Error()}
	case errors.Is(err, sqldriver.ErrPktTooLarge):
		fault = FaultOf(1153, "")
	case errors.Is(err, driver.ErrBadConn), errors.Is(err, sqldriver.ErrInvalidConn), errors.Is(err, sql.ErrConnDone),
		errors.Is(err, sqldriver.ErrMalformPkt), errors.Is(err, sqldriver.ErrPktSync), errors.Is(err, sqldriver.ErrPktSyncMul),
		errors.Is(err, sqldriver.ErrBusyBuffer),
		errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.As(err, &network):
		fault = Fault{Class: Reconnect, Why: "the connection to the server was lost: " + err.Error()}
	default:
		fault = Fault{Class: Stop, Why: err.Error()}
	}
	var connect *ConnectError
	if errors.As(err, &connect) {
		fault.Why, fault.Detail, fault.Hint = connect.cause(), "", connect.Hint
	}
	fault.err = err
	return fault
}

// FaultOf tells what the error of that number and message from a server means;
// for servers' errors that came by another way than Open, as those of the
// binlog connection.
func FaultOf(number uint16, message string) Fault {
	known, ok := serverErrors[number]
	if !ok {
		return Fault{Number: number, Class: Stop, Why: "the server refused the statement", Detail: maskQuoted(message),
			err: &sqldriver.MySQLError{Number: number, Message: message}}
	}
	f := Fault{Number: number, Name: known.name, Class: known.class, Waiting: known.waiting, Why: known.why, Hint: known.hint,
		Detail: known.detail.of(message), err: &sqldriver.MySQLError{Number: number, Message: message}}
	switch number {
	case 1290: // also "running with --secure-file-priv" and the like, which no waiting mends
		if !strings.Contains(strings.ReplaceAll(message, "_", "-"), "read-only") {
			f.Class, f.Waiting, f.Why, f.Hint = Stop, false, "an option of the server forbids the statement", ""
		}
	case 1030: // "Got error 28 - 'No space left on device' from storage engine"
		if strings.Contains(message, "error 28 ") {
			f.Class, f.Waiting, f.Why, f.Hint = Retry, true, "the server's disk is full", "free space on the server's disk"
		}
	case 1044, 1142, 1143, 1227:
		f.Hint = grantHint(number, message)
	}
	return f
}

// detail says how much of a server's message may be shown.
type detail uint8

const (
	whole    detail = iota // it holds names, numbers and options only
	afterKey               // what follows the last " for key ": a key's name
	afterCol               // what follows the last " for column ": a column's name
	masked                 // everything but what stands in quotes
)

func (d detail) of(message string) string {
	switch d {
	case whole:
		return message
	case afterKey:
		return lastPart(message, " for key ", "key ")
	case afterCol:
		return lastPart(message, " for column ", "column ")
	}
	return maskQuoted(message)
}

// lastPart returns what follows the last mark in message: values come before.
func lastPart(message, mark, prefix string) string {
	if i := strings.LastIndex(message, mark); i >= 0 {
		return prefix + message[i+len(mark):]
	}
	return maskQuoted(message)
}

// maskQuoted takes out everything between the first and the last quote, since
// a value may hold quotes itself.
func maskQuoted(message string) string {
	from, to := strings.IndexAny(message, `'"`), strings.LastIndexAny(message, `'"`)
	if from < 0 {
		return message
	}
	return message[:from] + "'…'" + message[to+1:]
}

var (
	deniedCommand  = regexp.MustCompile(`^(.+?) command denied to user '(.*?)'@'.*?' for (?:column '.*' in )?table (.+)$`)
	deniedDatabase = regexp.MustCompile(`^Access denied for user '(.*?)'@'.*?' to database '(.*)'$`)
	deniedGlobal   = regexp.MustCompile(`the (.+?) privilege`)
)

// grantHint builds the GRANT that a message of denial asks for. The message
// names the client's host, not the account's, so the account is left to be
// looked up; check, which is connected, prints it whole.
func grantHint(number uint16, message string) string {
	const account = "<the account that SELECT CURRENT_USER() shows>"
	if m := deniedCommand.FindStringSubmatch(message); m != nil {
		table := strings.Trim(m[3], "'")
		if !strings.Contains(table, "`") {
			table = "<database>." + QuoteIdent(table)
		}
		return fmt.Sprintf("as an administrator: GRANT %s ON %s TO %s", m[1], table, account)
	}
	if m := deniedDatabase.FindStringSubmatch(message); m != nil {
		return fmt.Sprintf("as an administrator: GRANT SELECT, INSERT, UPDATE, DELETE ON %s.* TO %s", QuoteIdent(m[2]), account)
	}
	if m := deniedGlobal.FindStringSubmatch(message); m != nil && number == 1227 {
		one := strings.TrimSuffix(m[1], "(s)")
		if i := strings.LastIndexByte(one, ','); i >= 0 { // "SUPER, REPLICATION CLIENT": never ask for SUPER
			one = strings.TrimSpace(one[i+1:])
		}
		return fmt.Sprintf("as an administrator: GRANT %s ON *.* TO %s", one, account)
	}
	return "run duplex check: it prints the GRANT that is missing"
}
