// Package duplex holds only the test of the project's structure: which package
// may import which. ARCHITECTURE.md tells the reasons.
package duplex

import (
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// allowed lists, for each package, those of ours that it may import. A new
// import that isn't here is a new arrow in the picture: draw it on purpose.
var allowed = map[string][]string{
	"change":           {},
	"converge":         {"change"},
	"queue":            {},
	"spill":            {},
	"supervise":        {},
	"console":          {},
	"config":           {"change"},
	"embedded":         {},
	"tasks":            {"change", "config"},
	"schemas":          {"change", "config"},
	"topics":           {"change", "config"},
	"control":          {"change", "config", "tasks", "topics"},
	"mysql":            {"config", "schemas"},
	"preflight":        {"apply/statement", "change", "config", "mysql", "schemas", "tasks", "topics"},
	"capture/binlog":   {"change", "schemas"},
	"capture/snapshot": {"capture/binlog", "mysql", "schemas"},
	"capture":          {"capture/binlog", "capture/snapshot", "change", "config", "internal/clock", "internal/failpoint", "mysql", "queue", "schemas", "supervise", "tasks", "topics"},
	"apply/statement":  {"schemas"},
	"spine":            {"change", "config", "internal/failpoint", "schemas", "supervise", "topics"},
	"conflicts":        {"apply/statement", "change", "config", "mysql", "schemas"},
	"apply":            {"apply/statement", "change", "config", "conflicts", "converge", "internal/clock", "internal/failpoint", "mysql", "schemas", "spill", "spine", "supervise", "tasks", "topics"},
	"feed":             {"change", "config", "schemas", "spine", "supervise", "tasks", "topics"},
	"region":           {"apply", "capture", "change", "config", "conflicts", "console", "control", "embedded", "supervise", "tasks"},
}

// drivers lists the only packages that may import each of these. It is the
// whole seam for other databases.
var drivers = map[string][]string{
	"github.com/go-mysql-org/go-mysql": {"capture/binlog"},
	"github.com/go-sql-driver/mysql":   {"mysql"},
	"github.com/linkedin/goavro/v2":    {"schemas"},
	"github.com/twmb/franz-go/pkg/sr":  {"schemas", "embedded"},
	"github.com/goccy/go-yaml":         {"config", "tasks"},
	"github.com/prometheus":            {"region"},
	"github.com/twmb/franz-go/pkg/kgo": {"apply", "capture", "control", "embedded", "feed", "preflight", "spine", "topics"},
	"database/sql":                     {"apply", "capture", "capture/snapshot", "conflicts", "mysql", "preflight"},
}

func TestImports(t *testing.T) {
	missing := slices.Sorted(maps.Keys(allowed))
	for _, p := range packages(t) {
		name := strings.TrimPrefix(p.ImportPath, "duplex/")
		rule, checked := allowed[name]
		for _, path := range p.Imports {
			if ours, is := strings.CutPrefix(path, "duplex/"); is && checked && !slices.Contains(rule, ours) {
				t.Errorf("%s imports %s, which the list in this test doesn't allow", name, ours)
			}
			for driver, may := range drivers {
				if checked && (path == driver || strings.HasPrefix(path, driver+"/")) && !slices.Contains(may, name) {
					t.Errorf("%s imports %s, which only %v may", name, path, may)
				}
			}
		}
		missing = slices.DeleteFunc(missing, func(m string) bool { return m == name })
	}
	if len(missing) > 0 {
		t.Errorf("packages %v are in the list of this test and not in the project", missing)
	}
}

type listed struct {
	ImportPath string
	Imports    []string
}

func packages(t *testing.T) (list []listed) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", "./...").Output()
	if err != nil {
		t.Fatalf("listing packages: %v", err)
	}
	decoder := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p listed
		err := decoder.Decode(&p)
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			t.Fatalf("listing packages: %v", err)
		}
		list = append(list, p)
	}
}
