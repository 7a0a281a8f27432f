package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Decode reads YAML strictly into the struct that into points at, which holds
// the defaults of what the YAML leaves out. Unknown and repeated keys, values
// of the wrong kind, anchors and further documents are refused, all of them at
// once; each part of the error is an *Invalid with its place. The name is shown
// as that of the file.
func Decode(name string, data []byte, into any) error {
	doc, err := parseDocument(name, data)
	if err != nil {
		return err
	}
	return doc.decode(into)
}

// document is one parsed YAML file and what was found wrong with it so far.
type document struct {
	name     string
	lines    []string
	body     ast.Node
	set      map[string]bool // paths of all settings that the file gives
	problems []error
}

func parseDocument(name string, data []byte) (*document, error) {
	doc := &document{name: name, lines: strings.Split(string(data), "\n"), set: map[string]bool{}}
	if !utf8.Valid(data) {
		return nil, fmt.Errorf("reading %s: it is not UTF-8 text: save it as UTF-8", name)
	}
	file, err := parser.ParseBytes(data, 0)
	if err != nil {
		return nil, doc.syntax(err)
	}
	if len(file.Docs) == 0 || file.Docs[0].Body == nil {
		return nil, fmt.Errorf("reading %s: it holds no setting", name)
	}
	if len(file.Docs) > 1 {
		return nil, doc.at(file.Docs[1].Start, "", "a second document begins here", "put everything into one, without ---")
	}
	doc.body = file.Docs[0].Body
	return doc, nil
}

// has reports whether the file itself gives the setting.
func (d *document) has(path string) bool { return d.set[path] }

func (d *document) decode(into any) error {
	d.check(into)
	if len(d.problems) > 0 {
		return errors.Join(d.problems...)
	}
	// The checks above know what they let through; Strict stands behind them
	// for what they don't foresee.
	decoder := yaml.NewDecoder(bytes.NewReader(nil), yaml.Strict())
	if err := decoder.DecodeFromNode(d.body, into); err != nil && !errors.Is(err, io.EOF) {
		return d.syntax(err)
	}
	return nil
}

// syntax turns an error of the YAML library, which would quote several lines
// with whatever secret they hold, into one of ours.
func (d *document) syntax(err error) error {
	var located yaml.Error
	if !errors.As(err, &located) || located.GetToken() == nil {
		return fmt.Errorf("reading %s: %w", d.name, err)
	}
	return d.at(located.GetToken(), "", located.GetMessage(), "")
}

// report notes a problem at a node.
func (d *document) report(node ast.Node, setting, reason, mend string) {
	d.problems = append(d.problems, d.at(node.GetToken(), setting, reason, mend))
}

func (d *document) at(t *token.Token, setting, reason, mend string) *Invalid {
	e := &Invalid{File: d.name, Setting: setting, Reason: reason, Mend: mend}
	if t == nil || t.Position == nil {
		return e
	}
	e.Line, e.Column = t.Position.Line, t.Position.Column
	if e.Line < 1 || e.Line > len(d.lines) {
		return e
	}
	line := []rune(strings.TrimRight(d.lines[e.Line-1], "\r"))
	if key := setting[strings.LastIndex(setting, ".")+1:]; soundsSecret(key) && !strings.Contains(string(line), key) {
		return e // a later line of a secret that takes several
	}
	before := line[:min(max(e.Column-1, 0), len(line))]
	// The part before the caret is blanked by itself, so that the caret stays
	// under what it points at although the line got shorter or longer.
	e.Source, e.Caret = blankSecrets(string(line)), utf8.RuneCountInString(blankSecrets(string(before)))+1
	return e
}

var keyForm = regexp.MustCompile(`([A-Za-z_-]+)['"]?\s*:\s+`)

// blankSecrets hides the values of keys that are, or by a slip of the finger
// may have been meant to be, the name of a secret. References stay: they show
// nothing.
func blankSecrets(line string) string {
	var b strings.Builder
	done := 0
	for _, m := range keyForm.FindAllStringSubmatchIndex(line, -1) {
		key, start := line[m[2]:m[3]], m[1]
		if start < done || !soundsSecret(key) {
			continue
		}
		end := start + valueLength(line[start:], strings.Contains(line[:start], "{"))
		if end > start && !strings.HasPrefix(strings.Trim(line[start:end], `"'`), "${") {
			b.WriteString(line[done:start] + hidden)
			done = end
		}
	}
	return b.String() + line[done:]
}

// valueLength tells how much of the text is the value that it begins with.
func valueLength(text string, inFlow bool) int {
	if text == "" {
		return 0
	}
	switch quote := text[0]; {
	case quote == '"' || quote == '\'':
		for i := 1; i < len(text); i++ {
			switch {
			case quote == '"' && text[i] == '\\', quote == '\'' && strings.HasPrefix(text[i:], "''"):
				i++
			case text[i] == quote:
				return i + 1
			}
		}
	case inFlow && !strings.HasPrefix(text, "${"):
		if end := strings.IndexAny(text, ",}"); end >= 0 {
			return end
		}
	}
	return len(text)
}

func soundsSecret(key string) bool {
	key = strings.ToLower(key)
	for _, name := range []string{"password", "passwd", "passphrase", "pass", "pwd", "secret", "token"} {
		if strings.Contains(key, name) || editDistance(key, name) <= len(name)/3 {
			return true
		}
	}
	return false
}

// settingOf returns the path of a node in the form that errors show.
func settingOf(node ast.Node) string {
	return strings.TrimPrefix(strings.TrimPrefix(node.GetPath(), "$"), ".")
}
