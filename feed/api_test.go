package feed

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"slices"
	"strings"
	"testing"
)

func documentation(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The package can be used from outside the module: nothing exported of it
// mentions a type of another of our packages, or of a Kafka client.
func TestAPI(t *testing.T) {
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if !strings.HasSuffix(file.Name(), ".go") || strings.HasSuffix(file.Name(), "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file.Name(), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		var foreign []string
		for _, i := range parsed.Imports {
			if path := strings.Trim(i.Path.Value, `"`); strings.Contains(path, ".") || strings.HasPrefix(path, "duplex/") {
				foreign = append(foreign, path[strings.LastIndexByte(path, '/')+1:])
			}
		}
		for name, node := range exported(parsed) {
			ast.Inspect(node, func(n ast.Node) bool {
				if s, ok := n.(*ast.SelectorExpr); ok {
					if pkg, ok := s.X.(*ast.Ident); ok && slices.Contains(foreign, pkg.Name) {
						t.Errorf("%s: %s mentions %s.%s", file.Name(), name, pkg.Name, s.Sel.Name)
					}
				}
				return true
			})
		}
	}
}

// exported returns the signatures and exported fields of a file.
func exported(file *ast.File) map[string]ast.Node {
	nodes := map[string]ast.Node{}
	for _, d := range file.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Name.IsExported() {
				nodes[d.Name.Name] = d.Type
			}
		case *ast.GenDecl:
			for _, s := range d.Specs {
				typ, ok := s.(*ast.TypeSpec)
				if !ok || !typ.Name.IsExported() {
					continue
				}
				fields, ok := typ.Type.(*ast.StructType)
				if !ok {
					nodes[typ.Name.Name] = typ.Type
					continue
				}
				for _, f := range fields.Fields.List {
					for _, name := range f.Names {
						if name.IsExported() {
							nodes[typ.Name.Name+"."+name.Name] = f.Type
						}
					}
				}
			}
		}
	}
	return nodes
}
