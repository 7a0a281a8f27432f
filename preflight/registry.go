package preflight

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"

	"duplex/change"
	"duplex/config"
)

// checkRegistry asks the schema registry for its subjects.
func checkRegistry(ctx context.Context, region change.Region, cfg config.Registry) []Finding {
	f := Finding{Region: region, Severity: Refuse, Code: "registry", Where: cfg.URL}
	if cfg.IsEmbedded() {
		f.Code, f.Severity = "embedded-registry", Warn
		f.What, f.Why = "the schema registry is embedded in the process", "it is for trials, not for production"
		f.Fix = "-- set registry.url to a Confluent-compatible schema registry\n"
		return []Finding{f}
	}
	if err := askRegistry(ctx, cfg); err != nil {
		f.What, f.Why = fmt.Sprintf("the schema registry can't be used: %v", err), "without the schemas nobody can read the topics"
		f.Fix = "-- start it, or correct registry.url, registry.user and registry.password in the process file\n"
		return []Finding{f}
	}
	return nil
}

func askRegistry(ctx context.Context, cfg config.Registry) error {
	tlsConfig, err := cfg.TLSConfig()
	if err != nil {
		return err
	}
	transport := &http.Transport{TLSClientConfig: tlsConfig, Proxy: http.ProxyFromEnvironment}
	defer transport.CloseIdleConnections()
	client := http.Client{Transport: transport, Timeout: answerTime}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(cfg.URL, "/")+"/subjects", nil)
	if err != nil {
		return err
	}
	if cfg.User != "" {
		req.SetBasicAuth(cfg.User, cfg.Password.Reveal())
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	start, err := io.ReadAll(io.LimitReader(resp.Body, 64))
	switch {
	case err != nil:
		return err
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("it answers %s", resp.Status)
	case !strings.HasPrefix(strings.TrimSpace(string(start)), "["):
		return fmt.Errorf("what answers there isn't a Confluent-compatible registry (with Apicurio the URL ends in /apis/ccompat/v7)")
	}
	return nil
}
