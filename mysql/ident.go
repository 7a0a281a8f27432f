package mysql

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// QuoteIdent returns name as an identifier to be put into a statement. Names
// from outside go through CheckIdent first.
func QuoteIdent(name string) string {
	return "`" + strings.ReplaceAll(name, "`", "``") + "`"
}

// CheckIdent tells whether a server could have a database, table or column
// of that name: 1 to 64 characters, valid UTF-8 without NUL, no trailing space.
func CheckIdent(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("empty name: an identifier has 1 to 64 characters")
	case !utf8.ValidString(name):
		return fmt.Errorf("name %q isn't valid UTF-8: MySQL has no such identifier", name)
	case strings.IndexByte(name, 0) >= 0:
		return fmt.Errorf("name %q holds a NUL character: MySQL has no such identifier", name)
	case utf8.RuneCountInString(name) > 64:
		return fmt.Errorf("name %q has %d characters: an identifier has at most 64", name, utf8.RuneCountInString(name))
	case strings.HasSuffix(name, " "):
		return fmt.Errorf("name %q ends in a space: MySQL has no such identifier", name)
	}
	return nil
}

// QuoteAccount turns user@host, as CURRENT_USER() gives it, into 'user'@'host'.
func QuoteAccount(currentUser string) string {
	at := strings.LastIndexByte(currentUser, '@')
	if at < 0 {
		return quoteString(currentUser)
	}
	return quoteString(currentUser[:at]) + "@" + quoteString(currentUser[at+1:])
}

func quoteString(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(s) + "'"
}
