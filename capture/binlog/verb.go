package binlog

import (
	"encoding/binary"
	"strings"
)

// isStatementChange reports whether a statement with that verb, found in the
// binlog, changes rows. With row format there is none. A SELECT is there only
// if it calls a function that changes something.
func isStatementChange(verb string) bool {
	switch verb {
	case "INSERT", "UPDATE", "DELETE", "REPLACE", "LOAD", "WITH", "SELECT", "CALL", "DO":
		return true
	default:
		return false
	}
}

// verbOf returns the first word of a statement in upper case. Comments before
// it are left out, but what stands in an executable one counts; so is
// MariaDB's SET STATEMENT … FOR, which sets variables for what follows.
func verbOf(statement string) string {
	verb, rest := firstWord(statement)
	if verb != "SET" {
		return verb
	}
	if word, _ := firstWord(rest); word != "STATEMENT" {
		return verb
	}
	for {
		var word string
		if word, rest = firstWord(rest); word == "FOR" {
			return verbOf(rest)
		}
		if rest == "" {
			return verb
		}
		if word == "" {
			rest = afterToken(rest)
		}
	}
}

// firstWord skips white space and comments and takes the word after them, in
// upper case; it is empty if something else stands there.
func firstWord(s string) (word, rest string) {
	s = skipGaps(s)
	end := strings.IndexFunc(s, func(r rune) bool { return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || r == '_') })
	if end < 0 {
		end = len(s)
	}
	return strings.ToUpper(s[:end]), s[end:]
}

func skipGaps(s string) string {
	for {
		s = strings.TrimLeft(s, " \t\n\v\f\r;(")
		switch {
		case strings.HasPrefix(s, "/*!"), strings.HasPrefix(s, "/*M!"):
			s = strings.TrimLeft(s[strings.IndexByte(s, '!')+1:], "0123456789")
		case strings.HasPrefix(s, "/*"):
			s = cutAfter(s[2:], "*/")
		case strings.HasPrefix(s, "*/"):
			s = s[2:]
		case strings.HasPrefix(s, "#"), s == "--", strings.HasPrefix(s, "--") && s[2] <= ' ':
			s = cutAfter(s, "\n")
		default:
			return s
		}
	}
}

// cutAfter returns what follows the next end, nothing if there is none.
func cutAfter(s, end string) string {
	_, after, _ := strings.Cut(s, end)
	return after
}

// afterToken skips a quoted text, or one character.
func afterToken(s string) string {
	quote := s[0]
	if quote != '\'' && quote != '"' && quote != '`' {
		return s[1:]
	}
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '\\' && quote != '`':
			i++
		case s[i] == quote:
			return s[i+1:] // a doubled quote begins a text of its own
		}
	}
	return ""
}

// escapesOf reads sql_mode from a query event's status variables. Its code, 1,
// stands first or after flags2, which has code 0 and four bytes (the server's
// Query_event).
func escapesOf(status []byte) Escapes {
	const flags2, sqlMode, noBackslashEscapes = 0, 1, 1 << 20
	if len(status) >= 5 && status[0] == flags2 {
		status = status[5:]
	}
	if len(status) >= 9 && status[0] == sqlMode && binary.LittleEndian.Uint64(status[1:])&noBackslashEscapes != 0 {
		return NoBackslash
	}
	return Backslash
}
