package binlog

import (
	"errors"
	"fmt"
	"strings"

	"github.com/go-mysql-org/go-mysql/mysql"
)

// CutError says that the binlog has no more than the beginning of a
// transaction: MariaDB has crashed while it wrote it. (MySQL cuts such a
// beginning off when it recovers.) The engine has rolled the transaction back,
// and its GTID is given to the next one. Reading must begin anew from the last
// transaction that was read, once that is saved.
//
// That passes over nothing that was committed. MariaDB begins at the newest file
// whose list of GTIDs, as recovery has left it, doesn't go beyond the position
// asked for: with all that is whole in the cut file read, that is the file after
// it. Where the list tells of more, the file was damaged in another way: the
// server begins with it again, reading comes to the same place without having
// read a transaction, and what the server says is then the error.
type CutError struct {
	GTID  string // of the transaction, "" if even that is cut off
	cause error
}

// Error names the transaction and what was found.
func (e *CutError) Error() string {
	return fmt.Sprintf("the server has crashed while it wrote transaction %s, and has rolled it back; reading begins anew after the last whole one: %v", e.GTID, e.cause)
}

func (e *CutError) Unwrap() error { return e.cause }

// errEndsWithin marks the refusal of a file that ends within a transaction.
var errEndsWithin = errors.New("the binlog file ends within a transaction")

// cut returns a CutError in place of err where reading anew may pass the place.
func (r *reader) cut(h *handler, passed bool, err error) error {
	if r.cfg.Engine != mysql.MariaDBFlavor || !passed || !errors.Is(err, errEndsWithin) && !isTruncated(err) {
		return err
	}
	gtid := ""
	if !h.txn.gtid.IsZero() {
		gtid = h.txn.gtid.String()
	}
	r.cfg.Logger.Warn("the server has crashed while it wrote a transaction, which is dropped", "gtid", gtid, "file", h.file)
	return &CutError{gtid, err}
}

// isTruncated tells the server's complaint that its binlog ends within an event
// (LOG_READ_TRUNC in its sql_repl.cc). One number stands for all complaints.
func isTruncated(err error) bool {
	const fatal = 1236
	var fault *mysql.MyError
	return errors.As(err, &fault) && fault.Code == fatal && strings.Contains(fault.Message, "truncated in the middle of event")
}
