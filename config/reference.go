package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// referenceForm matches ${kind:what}, and $${ which stands for a plain ${.
var referenceForm = regexp.MustCompile(`\$\$\{|\$\{([^}]*)\}?`)

// expandReferences puts the value of each ${env:NAME} and ${file:path} in its
// place, in every string of the document. Relative paths start from folder.
// What can't be resolved is noted in the document's problems. A value that was
// put in is not looked at again: a password may contain anything.
func (d *document) expandReferences(folder string) {
	for _, s := range stringsOf(d.body) {
		if !strings.Contains(s.Value, "${") {
			continue
		}
		s.Value = referenceForm.ReplaceAllStringFunc(s.Value, func(ref string) string {
			value, err := resolveReference(ref, folder)
			if err != nil {
				d.report(s, settingOf(s), err.Error(), "")
			}
			return value
		})
	}
}

func resolveReference(ref, folder string) (string, error) {
	if ref == "$${" {
		return "${", nil
	}
	kind, what, _ := strings.Cut(strings.TrimSuffix(strings.TrimPrefix(ref, "${"), "}"), ":")
	switch {
	case !strings.HasSuffix(ref, "}") || what == "" || kind != "env" && kind != "file":
		return "", errors.New("a reference must be ${env:NAME} or ${file:path}: for a plain ${ write $${")
	case kind == "env":
		value, ok := os.LookupEnv(what)
		if !ok {
			return "", fmt.Errorf("environment variable %s is not set: export %s=… before starting", what, what)
		}
		return value, nil
	default:
		return readSecretFile(what, folder)
	}
}

// readSecretFile returns a file's content without the newline that editors put
// at its end. It refuses one that every user of the machine may read.
func readSecretFile(path, folder string) (string, error) {
	if !filepath.IsAbs(path) {
		path = filepath.Join(folder, path)
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("secret file %s doesn't exist: create it, or correct the path (relative ones start from the folder of this file)", path)
	case err != nil:
		return "", fmt.Errorf("looking at secret file: %w", err)
	case info.Mode().Perm()&0o004 != 0:
		return "", fmt.Errorf("secret file %s may be read by every user of this machine (mode %#o): chmod 600 %s", path, info.Mode().Perm(), path)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("reading secret file: %w", err)
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r"), nil
}

// stringsOf returns every string value of a document, keys left out.
func stringsOf(node ast.Node) []*ast.StringNode {
	switch n := node.(type) {
	case *ast.StringNode:
		return []*ast.StringNode{n}
	case *ast.LiteralNode:
		return []*ast.StringNode{n.Value}
	case *ast.SequenceNode:
		var all []*ast.StringNode
		for _, v := range n.Values {
			all = append(all, stringsOf(v)...)
		}
		return all
	case ast.MapNode:
		var all []*ast.StringNode
		for it := n.MapRange(); it.Next(); {
			all = append(all, stringsOf(it.Value())...)
		}
		return all
	default:
		return nil
	}
}
