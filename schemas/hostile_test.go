package schemas

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"duplex/config"
)

// Whatever a registry answers, no id and no schema comes out of it that isn't
// the right one; the error says what mends it, and whether waiting may.
func TestHostileRegistry(t *testing.T) {
	const schema = `{"type":"record","name":"r","fields":[{"name":"a","type":"int"}]}`
	quotedSchema := `{"schema":` + quotedJSON(schema) + `}`
	endless := func(w http.ResponseWriter) {
		for {
			if _, err := w.Write(make([]byte, 64<<10)); err != nil {
				return
			}
		}
	}
	slow := func(w http.ResponseWriter) {
		for range 20 { // a byte every while, for longer than anyone waits
			if _, err := w.Write([]byte(" ")); err != nil {
				return
			}
			w.(http.Flusher).Flush()
			time.Sleep(50 * time.Millisecond)
		}
	}
	cut := func(w http.ResponseWriter) {
		w.Header().Set("Content-Length", "1000")
		fmt.Fprint(w, `{"id":`)
	}
	for _, tt := range []struct {
		name             string
		register, lookup func(http.ResponseWriter)
		final            bool
		want             string
	}{
		{"404", answer(404, `{"error_code":40403,"message":"Schema not found"}`), answer(404, ``), true, "registry.url"},
		{"400 and much text", answer(400, strings.Repeat("x", 1<<20)), answer(400, strings.Repeat("x", 1<<20)), true, "registry's log"},
		{"401", answer(401, `no`), answer(401, `no`), true, "registry.password"},
		{"409", answer(409, `{"error_code":409,"message":"incompatible"}`), answer(409, ``), true, "compatibility"},
		{"422", answer(422, `{"error_code":42201,"message":"Invalid"}`), answer(422, ``), true, "invalid"},
		{"500", answer(500, `oh`), answer(500, `oh`), false, "answered 500"},
		{"503", answer(503, ``), answer(503, ``), false, "answered 503"},
		{"a page", answer(200, `<html>sign in</html>`), answer(200, `<html>sign in</html>`), true, "registry.url"},
		{"another type", answer(200, `{"id":"seven"}`), answer(200, `{"schema":7}`), true, "registry.url"},
		{"nothing in it", answer(200, `{}`), answer(200, `{}`), true, "registry.url"},
		{"a negative id", answer(200, `{"id":-3}`), answer(200, `{"schema":""}`), true, "registry.url"},
		{"a huge id", answer(200, `{"id":4294967296}`), answer(200, `[]`), true, "registry.url"},
		{"cut off", cut, cut, true, "registry.url"},
		{"endless", endless, endless, true, "registry.url"},
		{"slow", slow, slow, false, "check registry.url"},
		{"another schema", answer(200, `{"id":7}`), answer(200, `{"schema":"\"long\""}`), true, "mixes up its ids"},
		{"another kind", answer(200, `{"id":7}`), answer(200, `{"schema":"message A {}","schemaType":"PROTOBUF"}`), true, "only Avro"},
		{"lost at once", answer(200, `{"id":7}`), answer(404, `{"error_code":40403}`), true, "bring it back"},
		{"well", answer(200, `{"id":7}`), answer(200, quotedSchema), false, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				if req.Method == http.MethodPost {
					tt.register(w)
				} else {
					tt.lookup(w)
				}
			}))
			defer server.Close()
			patience := 10 * time.Second
			if tt.name == "slow" {
				patience = 300 * time.Millisecond
			}
			r, err := newRegistry(config.Registry{URL: server.URL}, patience)
			if err != nil {
				t.Fatal(err)
			}
			id, err := r.Register(t.Context(), "east.d.t-value", schema)
			if tt.want == "" {
				if err != nil || id != 7 {
					t.Errorf("registered as %d, %v", id, err)
				}
				return
			}
			var refused *RegistryError
			if !errors.As(err, &refused) || refused.Permanent() != tt.final || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "east.d.t-value") {
				t.Errorf("registering: permanent %t, %v", refused != nil && refused.Permanent(), err)
			}
			if len(err.Error()) > 2000 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
			if tt.name == "another schema" {
				return // by itself it is a good answer
			}
			if text, err := r.Schema(t.Context(), 8); err == nil || !errors.As(err, &refused) || refused.Permanent() != tt.final {
				t.Errorf("looking up: %q, permanent %t, %v", text, refused != nil && refused.Permanent(), err)
			}
		})
	}
}
