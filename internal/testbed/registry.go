package testbed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
)

// Registry is a running schema registry that speaks Confluent's API (Apicurio). It keeps everything in memory: after Kill
// or Stop it starts empty. Its global compatibility is NONE until PUT /config, where Confluent's is BACKWARD.
type Registry struct {
	bed  *Bed
	dir  string
	port *port
	proc *process
	once sync.Once
}

// StartRegistry starts a registry and waits until it answers.
func (b *Bed) StartRegistry(ctx context.Context) (*Registry, error) {
	if err := Install(ctx, b.cache, RegistryApp); err != nil {
		return nil, err
	}
	dir, err := b.newDir("registry")
	if err != nil {
		return nil, fmt.Errorf("starting the registry: %w", err)
	}
	p, err := claimPort()
	if err != nil {
		return nil, fmt.Errorf("starting the registry: %w", err)
	}
	argv := append([]string{"java", "-Xmx128m"}, javaFlags(dir)...)
	argv = append(argv, "-Dquarkus.http.host=127.0.0.1", "-Dquarkus.http.port="+strconv.Itoa(p.number), "-Dquarkus.log.level=WARN",
		"-jar", "apicurio-registry-app-"+registryVersion+"-runner.jar")
	r := &Registry{bed: b, dir: dir, port: p, proc: &process{
		name: "registry at " + p.address(), argv: argv,
		dir: filepath.Join(b.cache, string(RegistryApp), "app"), log: filepath.Join(dir, "registry.log"),
	}}
	b.add(r)
	if err := r.start(ctx); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// Registry is StartRegistry for the duration of test t.
func (b *Bed) Registry(t TB) *Registry {
	t.Helper()
	r, err := b.StartRegistry(t.Context())
	if err != nil {
		t.Fatalf("%v", err)
	}
	closeWith(t, r)
	return r
}

func (r *Registry) start(ctx context.Context) error {
	if err := r.proc.start(); err != nil {
		return err
	}
	return r.proc.await(ctx, func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.URL()+"/subjects", nil)
		if err != nil {
			return err
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		_, _ = io.Copy(io.Discard, res.Body)
		if res.StatusCode != http.StatusOK {
			return fmt.Errorf("GET /subjects answers %s", res.Status)
		}
		return nil
	})
}

// URL is the base of the Confluent API, such as http://127.0.0.1:23456/apis/ccompat/v7.
func (r *Registry) URL() string { return "http://" + r.Addr() + "/apis/ccompat/v7" }

// Addr is host:port, for a Proxy in front of it.
func (r *Registry) Addr() string { return r.port.address() }

// Name is kind and address, for messages.
func (r *Registry) Name() string { return r.proc.name }

// PID is that of the JVM.
func (r *Registry) PID() int { return r.proc.pid() }

// Start starts the registry again after Stop or Kill, empty, on the same port.
func (r *Registry) Start() error { return r.start(context.Background()) }

// Stop ends the registry in order.
func (r *Registry) Stop() error { return r.proc.stop() }

// Kill ends the registry with SIGKILL.
func (r *Registry) Kill() error { return r.proc.kill() }

// Freeze stops the registry with SIGSTOP until Thaw.
func (r *Registry) Freeze() error { return r.proc.freeze() }

// Thaw lets a frozen registry go on.
func (r *Registry) Thaw() error { return r.proc.thaw() }

// Close kills the registry for good.
func (r *Registry) Close() error {
	var err error
	r.once.Do(func() {
		err = errors.Join(r.proc.kill(), os.RemoveAll(r.dir))
		r.port.release()
		r.bed.forget(r)
	})
	return err
}

func (r *Registry) logTail() string { return r.proc.logTail() }
