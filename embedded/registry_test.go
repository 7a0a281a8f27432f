package embedded

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/sr"
)

func startRegistry(t *testing.T, dir string) (*Registry, *sr.Client) {
	t.Helper()
	r, err := StartRegistry(testContext(t), Options{Dir: dir, Listen: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	client, err := sr.NewClient(sr.URLs(r.URL()))
	if err != nil {
		t.Fatal(err)
	}
	return r, client
}

func closeRegistry(t *testing.T, r *Registry) {
	t.Helper()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
}

func schema(name string) sr.Schema {
	return sr.Schema{Schema: fmt.Sprintf(`{"type":"record","name":"%s","fields":[{"name":"id","type":"long"}]}`, name)}
}

func register(t *testing.T, client *sr.Client, subject, name string) int {
	t.Helper()
	s, err := client.CreateSchema(testContext(t), subject, schema(name))
	if err != nil {
		t.Fatal(err)
	}
	return s.ID
}

func TestSchemaIDsSurvive(t *testing.T) {
	dir := t.TempDir()
	r, client := startRegistry(t, dir)
	ids := map[string]int{}
	var mu sync.Mutex
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			name := fmt.Sprint("R", i%10) // each under two subjects: one id
			id := register(t, client, fmt.Sprintf("s%d-value", i), name)
			mu.Lock()
			defer mu.Unlock()
			if known, ok := ids[name]; ok && known != id {
				t.Errorf("%s has ids %d and %d", name, known, id)
			}
			ids[name] = id
		})
	}
	all.Wait()
	client.SetCompatibility(testContext(t), sr.SetCompatibility{Level: sr.CompatNone}, "s0-value")
	if _, err := client.DeleteSubject(testContext(t), "s1-value", sr.SoftDelete); err != nil {
		t.Fatal(err)
	}
	size := fileSize(t, filepath.Join(dir, "journal.jsonl"))
	register(t, client, "s2-value", "R2")
	register(t, client, "s2-value", "R2")
	grown := fileSize(t, filepath.Join(dir, "journal.jsonl"))
	register(t, client, "s2-value", "R2")
	if again := fileSize(t, filepath.Join(dir, "journal.jsonl")); again != grown || grown == size {
		t.Errorf("the journal grows from %d to %d to %d bytes by registering what is registered", size, grown, again)
	}
	image := crashImage(t, dir)
	closeRegistry(t, r)

	for _, dir := range []string{dir, image} {
		r, client := startRegistry(t, dir)
		for name, id := range ids {
			s, err := client.SchemaByID(testContext(t), id)
			if err != nil || s.Schema != schema(name).Schema {
				t.Errorf("id %d is %q, want %s: %v", id, s.Schema, name, err)
			}
		}
		if id := register(t, client, "new-value", "New"); id != 11 {
			t.Errorf("the next id is %d, want 11", id)
		}
		if level := client.Compatibility(testContext(t), "s0-value")[0].Level; level != sr.CompatNone {
			t.Errorf("compatibility is %v", level)
		}
		if subjects, err := client.Subjects(testContext(t)); err != nil || len(subjects) != 20 {
			t.Errorf("%d subjects, %v", len(subjects), err)
		}
		closeRegistry(t, r)
	}
}

func TestJournalCutOffAndDamaged(t *testing.T) {
	dir := t.TempDir()
	r, client := startRegistry(t, dir)
	register(t, client, "a", "A")
	register(t, client, "b", "B")
	closeRegistry(t, r)
	path := filepath.Join(dir, "journal.jsonl")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for cut := strings.Index(string(whole), "\n") + 1; cut < len(whole); cut += 7 {
		if err := os.WriteFile(path, whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		r, client := startRegistry(t, dir)
		if id := register(t, client, "c", "C"); id != 2 {
			t.Fatalf("cut at %d: the id after A's is %d", cut, id)
		}
		closeRegistry(t, r)
		if r, client = startRegistry(t, dir); register(t, client, "c", "C") != 2 {
			t.Fatalf("cut at %d: C's id changed", cut)
		}
		closeRegistry(t, r)
	}
	for _, damaged := range []string{"{\n" + string(whole), strings.Replace(string(whole), `"id":1`, `"id":7`, 1)} {
		if err := os.WriteFile(path, []byte(damaged), 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := StartRegistry(testContext(t), Options{Dir: dir, Listen: "127.0.0.1:0"})
		if err == nil {
			closeRegistry(t, r)
		}
		if err == nil || !strings.Contains(err.Error(), "line 1") {
			t.Errorf("damaged journal: %v", err)
		}
	}
}

// TestRegistryThatCanNotWrite closes the journal's file behind its back.
func TestRegistryThatCanNotWrite(t *testing.T) {
	r, client := startRegistry(t, t.TempDir())
	register(t, client, "a", "A")
	r.journal.Close()
	for _, try := range []string{"B", "A"} {
		if s, err := client.CreateSchema(testContext(t), "b", schema(try)); err == nil {
			t.Errorf("answers id %d that won't outlive a restart", s.ID)
		}
	}
	resp, err := http.Get(r.URL() + "/schemas/ids/2")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusInternalServerError || !strings.Contains(string(body), "restart") {
		t.Errorf("shows what isn't kept: %d %s", resp.StatusCode, body)
	}
	if err := r.Close(); err == nil {
		t.Error("the closed journal wasn't noticed")
	}
}

func TestRegistryLocksItsDirectory(t *testing.T) {
	dir := t.TempDir()
	r, _ := startRegistry(t, dir)
	defer closeRegistry(t, r)
	if _, err := StartRegistry(testContext(t), Options{Dir: dir, Listen: "127.0.0.1:0"}); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("second one on the same directory: %v", err)
	}
}
