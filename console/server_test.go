package console

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestPages(t *testing.T) {
	notReady := errors.New("apply of task shop is stopped: table shop.orders is not in the target")
	var ready error
	s, err := Start("127.0.0.1:0", Pages{
		Status: func() any { return map[string]int{"rows": 7} },
		Ready:  func() error { return ready },
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "duplex_rows 7\n")
		}),
	})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()

	if code, body := get(t, s, "/healthz"); code != http.StatusOK || body != "ok\n" {
		t.Errorf("healthz: %d %q", code, body)
	}
	if code, _ := get(t, s, "/readyz"); code != http.StatusOK {
		t.Errorf("readyz of a ready process: %d", code)
	}
	ready = notReady
	if code, body := get(t, s, "/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, notReady.Error()) {
		t.Errorf("readyz of one that isn't: %d %q", code, body)
	}
	_, body := get(t, s, "/status")
	var status map[string]int
	if err := json.Unmarshal([]byte(body), &status); err != nil || status["rows"] != 7 {
		t.Errorf("status: %q, %v", body, err)
	}
	if _, body := get(t, s, "/metrics"); body != "duplex_rows 7\n" {
		t.Errorf("metrics: %q", body)
	}
	if code, _ := get(t, s, "/elsewhere"); code != http.StatusNotFound {
		t.Errorf("a page that isn't there: %d", code)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func TestTakenAddressIsNamed(t *testing.T) {
	s, err := Start("127.0.0.1:0", Pages{Metrics: http.NotFoundHandler()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.listener.Close()
	_, err = Start(s.Addr(), Pages{Metrics: http.NotFoundHandler()})
	if err == nil || !strings.Contains(err.Error(), s.Addr()) || !strings.Contains(err.Error(), "mend:") {
		t.Fatalf("error for a taken address: %v", err)
	}
}

// What is to be resumed comes as JSON, which no page of another site can send.
func TestResume(t *testing.T) {
	s, err := Start("127.0.0.1:0", Pages{Metrics: http.NotFoundHandler(), Resume: func(task string, pass, skip []string) ([]string, error) {
		if task == "gone" {
			return nil, errors.New("no such task")
		}
		return append(append([]string{task}, pass...), skip...), nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	for _, tt := range []struct {
		kind, body string
		code       int
		want       string
	}{
		{"application/json", `{"task":"shop","pass":["t:0:1"]}`, http.StatusOK, `["shop","t:0:1"]`},
		{"application/json", `{"task":"gone"}`, http.StatusBadRequest, "no such task"},
		{"application/json", `{"tsak":"shop"}`, http.StatusBadRequest, "tsak"},
		{"application/json", ``, http.StatusBadRequest, "EOF"},
		{"text/plain", `{"task":"shop"}`, http.StatusUnsupportedMediaType, "application/json"},
	} {
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		answer, err := client.Post("http://"+s.Addr()+"/resume", tt.kind, strings.NewReader(tt.body))
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(answer.Body)
		answer.Body.Close()
		if answer.StatusCode != tt.code || !strings.Contains(string(body), tt.want) {
			t.Errorf("%s as %s: %d %s", tt.body, tt.kind, answer.StatusCode, body)
		}
	}
	if code, _ := get(t, s, "/resume"); code != http.StatusMethodNotAllowed {
		t.Errorf("GET /resume: %d", code)
	}
	if err := errors.Join(s.Close(), <-served); err != nil {
		t.Error(err)
	}
}

func get(t *testing.T, s *Server, path string) (int, string) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Get("http://" + s.Addr() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(body)
}
