package testbed

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// avroConverter is the converter that reads and writes Avro in Confluent's wire format.
const avroConverter = "io.apicurio.registry.utils.converter.AvroConverter"

// Connect is a running Kafka Connect worker of one process, with Debezium's connector for MySQL and its JDBC sink. Keys and values are Avro in Confluent's wire format unless a connector's configuration says otherwise; headers are
// what Connect's default converter makes of them. What connectors have read is forgotten when the worker is closed.
type Connect struct {
	bed  *Bed
	dir  string
	port *port
	proc *process
	once sync.Once
}

// StartConnect starts a worker that uses the given Kafka and registry and waits until it answers. Flags of the JVM win over
// the test bed's own; a benchmark wants "-XX:TieredStopAtLevel=4".
func (b *Bed) StartConnect(ctx context.Context, k *Kafka, r *Registry, jvm ...string) (*Connect, error) {
	if err := Install(ctx, b.cache, ConnectApp); err != nil {
		return nil, err
	}
	dir, err := b.newDir("connect")
	if err != nil {
		return nil, fmt.Errorf("starting Kafka Connect: %w", err)
	}
	p, err := claimPort()
	if err != nil {
		return nil, fmt.Errorf("starting Kafka Connect: %w", err)
	}
	home := filepath.Join(b.cache, string(ConnectApp))
	argv := append([]string{"java", "-Xms128m", "-Xmx512m"}, javaFlags(dir)...)
	argv = append(argv, jvm...)
	argv = append(argv, "-Dlog4j2.configurationFile="+filepath.Join(home, "log4j2.xml"), "-cp", kafkaClasses(home),
		"org.apache.kafka.connect.cli.ConnectStandalone", filepath.Join(dir, "worker.properties"))
	c := &Connect{bed: b, dir: dir, port: p, proc: &process{
		name: "Kafka Connect at " + p.address(), argv: argv, dir: dir, log: filepath.Join(dir, "connect.log"),
	}}
	b.add(c)
	if err := c.start(ctx, home, k, r); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// Connect is StartConnect for the duration of test t.
func (b *Bed) Connect(t TB, k *Kafka, r *Registry) *Connect {
	t.Helper()
	c, err := b.StartConnect(t.Context(), k, r)
	if err != nil {
		t.Fatalf("%v", err)
	}
	closeWith(t, c)
	return c
}

func (c *Connect) start(ctx context.Context, home string, k *Kafka, r *Registry) error {
	lines := []string{
		"bootstrap.servers=" + strings.Join(k.Brokers(), ","),
		"listeners=http://" + c.port.address(),
		"plugin.path=" + filepath.Join(home, "plugins"),
		"plugin.discovery=service_load",
		"offset.storage.file.filename=" + filepath.Join(c.dir, "offsets"),
		"offset.flush.interval.ms=1000",
		"connector.client.config.override.policy=All",
	}
	for _, side := range []string{"key", "value"} {
		registry := side + ".converter.apicurio.registry."
		lines = append(lines,
			side+".converter="+avroConverter,
			registry+"url=http://"+r.Addr()+"/apis/registry/v2",
			registry+"auto-register=true",
			registry+"find-latest=true",
			registry+"headers.enabled=false", // the schema's id goes before the value, as Confluent has it
			registry+"as-confluent=true",
			registry+"use-id=contentId",
		)
	}
	file := filepath.Join(c.dir, "worker.properties")
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
		return fmt.Errorf("starting %s: %w", c.Name(), err)
	}
	if err := c.proc.start(); err != nil {
		return err
	}
	return c.proc.await(ctx, func(ctx context.Context) error { return c.call(ctx, http.MethodGet, "/connectors", nil, nil) })
}

// Run starts a connector with the given configuration, or gives a running one another, and waits until it and its task run.
// A source may then still have to find its place: wait for its first record before relying on it.
func (c *Connect) Run(ctx context.Context, connector string, config map[string]string) error {
	if err := c.call(ctx, http.MethodPut, "/connectors/"+connector+"/config", config, nil); err != nil {
		return fmt.Errorf("starting connector %s: %w", connector, err)
	}
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	for {
		err := c.Running(ctx, connector)
		var failed *ConnectorError
		if err == nil || errors.As(err, &failed) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("starting connector %s: %w", connector, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// ConnectorError tells why a connector, or its task, has failed.
type ConnectorError struct{ Connector, Trace string }

func (e *ConnectorError) Error() string {
	return fmt.Sprintf("connector %s has failed: %s", e.Connector, e.Trace)
}

// Running returns nil if the connector and its task run, and a *ConnectorError if they have failed.
func (c *Connect) Running(ctx context.Context, connector string) error {
	type state struct{ State, Trace string }
	var status struct {
		Connector state
		Tasks     []state
	}
	if err := c.call(ctx, http.MethodGet, "/connectors/"+connector+"/status", nil, &status); err != nil {
		return err
	}
	for _, s := range append(status.Tasks, status.Connector) {
		if s.State == "FAILED" {
			return &ConnectorError{connector, s.Trace}
		}
	}
	if len(status.Tasks) == 0 || status.Connector.State != "RUNNING" || status.Tasks[0].State != "RUNNING" {
		return fmt.Errorf("connector %s is %+v", connector, status)
	}
	return nil
}

// Remove ends a connector and forgets its configuration.
func (c *Connect) Remove(ctx context.Context, connector string) error {
	if err := c.call(ctx, http.MethodDelete, "/connectors/"+connector, nil, nil); err != nil {
		return fmt.Errorf("removing connector %s: %w", connector, err)
	}
	return nil
}

// call calls the worker's REST API.
func (c *Connect) call(ctx context.Context, method, path string, body, into any) error {
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+c.port.address()+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s: %s", method, path, res.Status, answer)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(answer, into)
}

// Name is kind and address, for messages.
func (c *Connect) Name() string { return c.proc.name }

// PID is that of the JVM.
func (c *Connect) PID() int { return c.proc.pid() }

// Close kills the worker for good.
func (c *Connect) Close() error {
	var err error
	c.once.Do(func() {
		err = errors.Join(c.proc.kill(), os.RemoveAll(c.dir))
		c.port.release()
		c.bed.forget(c)
	})
	return err
}

func (c *Connect) logTail() string { return c.proc.logTail() }
