package duplex

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"duplex/schemas"
)

// docs/TOPICS.md tells every header, and every field of every record that
// isn't a column of the user's.
func TestTopicsPageIsWhole(t *testing.T) {
	text, err := os.ReadFile("docs/TOPICS.md")
	if err != nil {
		t.Fatal(err)
	}
	table := &schemas.Table{DB: "d", Name: "t", Key: []int{0}, Columns: []schemas.Column{{Name: "acolumn", Type: schemas.Int}}}
	envelope, err := schemas.EnvelopeSchema(table, "east", "mysql")
	if err != nil {
		t.Fatal(err)
	}
	names := headerNames(t)
	if len(names) < 4 {
		t.Fatalf("headers.go names only %v", names)
	}
	for _, schema := range []string{envelope, schemas.EndKeySchema, schemas.EndSchema, schemas.PositionSchema,
		schemas.HeartbeatKeySchema, schemas.HeartbeatSchema, schemas.SchemaChangeKeySchema("mysql"), schemas.SchemaChangeSchema("mysql")} {
		var root any
		if err := json.Unmarshal([]byte(schema), &root); err != nil {
			t.Fatal(err)
		}
		names = append(names, fieldNames(root)...)
	}
	for _, name := range names {
		if name != "acolumn" && !strings.Contains(string(text), "`"+name+"`") {
			t.Errorf("docs/TOPICS.md doesn't tell `%s`", name)
		}
	}
}

// TestMetricsAreThere: what README, the dashboard and the alerts ask for are metrics that there are.
func TestMetricsAreThere(t *testing.T) {
	source, err := os.ReadFile("region/metrics.go")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, found := range regexp.MustCompile(`desc\("([a-z_]+)"`).FindAllSubmatch(source, -1) {
		known["duplex_"+string(found[1])] = true
	}
	if len(known) < 30 {
		t.Fatalf("metrics.go has only %v", known)
	}
	for _, file := range []string{"README.md", "docker/grafana/duplex.json", "docker/prometheus/alerts.yaml"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		names := regexp.MustCompile(`\bduplex_(?:capture|apply|kafka|certificate)_[a-z_]+\*?`).FindAllString(string(text), -1)
		if len(names) == 0 {
			t.Errorf("%s names no metric", file)
		}
		for _, name := range names {
			if !known[name] && !strings.HasSuffix(name, "*") {
				t.Errorf("%s asks for %s, which isn't there", file, name)
			}
		}
	}
}

// headerNames returns the values of the constants Header… of package topics.
func headerNames(t *testing.T) (names []string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "topics/headers.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		for i, name := range spec.Names {
			if !strings.HasPrefix(name.Name, "Header") || i >= len(spec.Values) {
				continue
			}
			if literal, ok := spec.Values[i].(*ast.BasicLit); ok && literal.Kind == token.STRING {
				value, err := strconv.Unquote(literal.Value)
				if err != nil {
					t.Fatal(err)
				}
				names = append(names, value)
			}
		}
		return true
	})
	return names
}

// fieldNames returns the names of all fields of a schema, however deep.
func fieldNames(node any) (names []string) {
	switch n := node.(type) {
	case []any:
		for _, item := range n {
			names = append(names, fieldNames(item)...)
		}
	case map[string]any:
		fields, _ := n["fields"].([]any)
		if n["name"] == "Table" {
			return nil // of a schema change: Debezium's, and always null
		}
		for _, f := range fields {
			names = append(names, f.(map[string]any)["name"].(string))
		}
		for _, item := range n {
			names = append(names, fieldNames(item)...)
		}
	}
	return names
}
