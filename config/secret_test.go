package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"duplex/change"
)

func TestSecretNeverShows(t *testing.T) {
	p := Process{MySQL: MySQL{Password: "hunter2"}, Kafka: Kafka{SASL: SASL{Password: "hunter2"}}, Peers: map[change.Region]Peer{"west": {Registry: Registry{Password: "hunter2"}}}}
	var shown []string
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T %v"} {
		shown = append(shown, fmt.Sprintf(verb, p), fmt.Sprintf(verb, p.MySQL.Password), fmt.Sprintf(verb, &p))
	}
	encoded, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	asYAML, err := yaml.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "secret", p.MySQL.Password, "process", p)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "secret", p.MySQL.Password, "process", p)
	shown = append(shown, string(encoded), string(asYAML), log.String(), fmt.Errorf("failing: %w", fmt.Errorf("%v", p)).Error())
	for _, s := range shown {
		if strings.Contains(s, "hunter2") || strings.Contains(s, fmt.Sprintf("%x", "hunter2")) {
			t.Errorf("shows the secret: %s", s)
		}
	}
	if p.MySQL.Password.Reveal() != "hunter2" {
		t.Error("Reveal doesn't")
	}
}
