package testbed

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

// CacheDir is where servers are installed when nothing else is said: the folder that DUPLEX_TESTBED names, else .testbed
// beside the go.mod of the working directory, else duplex-testbed in the user's cache folder.
func CacheDir() (string, error) {
	if dir := os.Getenv("DUPLEX_TESTBED"); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("finding the test bed's folder: %w", err)
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, ".testbed"), nil
		}
		if dir == filepath.Dir(dir) {
			break
		}
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("finding the test bed's folder: %w; set DUPLEX_TESTBED", err)
	}
	return filepath.Join(cache, "duplex-testbed"), nil
}

// Install makes parts ready under dir ("" means CacheDir), all at once, and leaves alone what is there already. Any
// number of processes may do so at a time. A part appears whole or, after an error or a kill, not at all.
func Install(ctx context.Context, dir string, parts ...Part) error {
	dir, err := openCache(dir)
	if err != nil {
		return err
	}
	var missing []Part
	for _, part := range parts {
		if part == Compiler {
			missing = append(missing, part)
			continue
		}
		place, err := locate(ctx, dir, part)
		if err != nil {
			return err
		}
		if !place.ready() {
			missing = append(missing, part)
		}
	}
	if err := installTools(ctx, dir, missing); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, part := range missing {
		if part == Compiler {
			continue // a tool of the machine, nothing of ours
		}
		group.Go(func() error {
			if err := installPart(ctx, dir, part); err != nil {
				return fmt.Errorf("installing %s: %w", part, err)
			}
			return nil
		})
	}
	return group.Wait()
}

// openCache makes the cache folder and returns its absolute path: mysqld takes no other.
func openCache(dir string) (string, error) {
	var err error
	if dir == "" {
		dir, err = CacheDir()
	} else {
		dir, err = filepath.Abs(dir)
	}
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("making the test bed's folder: %w", err)
	}
	return dir, nil
}

// place is where a part is or will be installed.
type place struct {
	part   Part
	dir    string
	system string // the machine's own mysqld, "" for what the test bed installs
}

func (p place) ready() bool {
	_, err := os.Stat(p.dir)
	return err == nil
}

// locate decides where part lives; AnyMySQL is a mysqld of the machine or else MySQL97.
func locate(ctx context.Context, dir string, part Part) (place, error) {
	if part != AnyMySQL {
		if !slices.Contains(AllParts(), part) {
			return place{}, fmt.Errorf("installing %q: there is no such part; there are %v", part, AllParts())
		}
		return place{part: part, dir: filepath.Join(dir, string(part))}, nil
	}
	path, version, err := systemMySQL(ctx)
	if err != nil {
		return place{}, err
	}
	if path == "" {
		return locate(ctx, dir, MySQL97)
	}
	// Its initialized data directory belongs to this very version.
	name := fmt.Sprintf("mysqld-%d.%d.%d", version[0], version[1], version[2])
	return place{part: AnyMySQL, dir: filepath.Join(dir, name), system: path}, nil
}

// installPart installs one part under its lock: made in a folder beside the final one, then renamed.
func installPart(ctx context.Context, dir string, part Part) error {
	target, err := locate(ctx, dir, part)
	if err != nil {
		return err
	}
	unlock, err := lock(ctx, target.dir+".lock")
	if err != nil {
		return err
	}
	defer unlock()
	if target.ready() {
		return nil // another process did it while this one waited
	}
	if err := removeAll(target.dir + ".new-*"); err != nil {
		return err
	}
	fresh, err := os.MkdirTemp(dir, filepath.Base(target.dir)+".new-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(fresh)
	if err := os.Chmod(fresh, 0o755); err != nil {
		return err
	}
	start := time.Now()
	slog.Info("installing a server of the test bed", "part", target.part)
	if err := fill(ctx, dir, place{part: target.part, dir: fresh, system: target.system}); err != nil {
		return err
	}
	if err := os.Rename(fresh, target.dir); err != nil {
		return err
	}
	slog.Info("installed a server of the test bed", "part", target.part, "took", time.Since(start).Round(time.Millisecond))
	return nil
}

// fill installs a part into the empty folder p.dir.
func fill(ctx context.Context, dir string, p place) error {
	switch p.part {
	case KafkaJars:
		return withMaven(ctx, dir, func() error { return fetchKafka(ctx, p.dir) })
	case RegistryApp:
		return withMaven(ctx, dir, func() error { return fetchRegistry(ctx, p.dir) })
	case ConnectApp:
		return withMaven(ctx, dir, func() error { return fetchConnect(ctx, p.dir) })
	case MySQL80:
		if err := withMaven(ctx, dir, func() error { return fetchMySQL80(ctx, p.dir) }); err != nil {
			return err
		}
	}
	if e, ok := engineOf(p.part); ok {
		if err := unpackDebian(ctx, filepath.Join(p.dir, "tree"), e.suite, e.packages); err != nil {
			return err
		}
	}
	return initializeData(ctx, p)
}

func fetchMySQL80(ctx context.Context, dir string) error {
	file, err := fetchJar(ctx, dir, mysql80Jar())
	if err != nil {
		return err
	}
	if err := unzipMember(file, "mysql-Linux-amd64.tar.gz", filepath.Join(dir, "tree/server")); err != nil {
		return err
	}
	return os.Remove(file)
}

func fetchRegistry(ctx context.Context, dir string) error {
	return fetchTar(ctx, dir, registryTar(), filepath.Join(dir, "app"))
}

// withMaven lets one mvn run at a time: its local repository isn't made for two writers.
func withMaven(ctx context.Context, dir string, fetch func() error) error {
	unlock, err := lock(ctx, filepath.Join(dir, "maven.lock"))
	if err != nil {
		return err
	}
	defer unlock()
	return fetch()
}

// installTools installs the Debian packages that parts need on the machine and that it lacks.
func installTools(ctx context.Context, dir string, parts []Part) error {
	needed := func() (packages []string) {
		runsJava := func(p Part) bool { return p == KafkaJars || p == RegistryApp || p == ConnectApp }
		if slices.ContainsFunc(parts, runsJava) {
			if javaVersion(ctx) < javaAtLeast {
				packages = append(packages, javaPackage)
			}
		}
		if slices.ContainsFunc(parts, func(p Part) bool { return runsJava(p) || p == MySQL80 }) {
			if _, err := exec.LookPath("mvn"); err != nil {
				packages = append(packages, mavenPackage)
			}
		}
		if slices.Contains(parts, Compiler) {
			if _, err := exec.LookPath("gcc"); err != nil {
				packages = append(packages, compilerPackages()...)
			}
		}
		return packages
	}
	if len(needed()) == 0 {
		return nil
	}
	unlock, err := lock(ctx, filepath.Join(dir, "apt.lock"))
	if err != nil {
		return err
	}
	defer unlock()
	packages := needed()
	if len(packages) == 0 {
		return nil
	}
	if slices.Contains(packages, mavenPackage) && !slices.Contains(packages, javaPackage) && javaVersion(ctx) < javaAtLeast {
		packages = append(packages, javaPackage) // so that maven doesn't pull in another
	}
	slog.Info("installing packages on this machine", "packages", packages)
	if err := installPackages(ctx, packages); err != nil {
		return fmt.Errorf("installing %v: %w", packages, err)
	}
	return nil
}

// javaVersion is the major version of java on PATH, 0 without one.
func javaVersion(ctx context.Context) int {
	out, err := exec.CommandContext(ctx, "java", "-version").CombinedOutput()
	if err != nil {
		return 0
	}
	m := regexp.MustCompile(`version "(\d+)`).FindSubmatch(out)
	if m == nil {
		return 0
	}
	major, _ := strconv.Atoi(string(m[1]))
	return major
}

// lock waits for the lock on file; the kernel drops it if this process dies.
func lock(ctx context.Context, file string) (unlock func(), err error) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("locking: %w", err)
	}
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if err != syscall.EWOULDBLOCK {
			f.Close()
			return nil, fmt.Errorf("locking %s: %w", file, err)
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("locking %s: another process has held it until now: %w", file, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// removeAll removes what a killed process left behind under pattern.
func removeAll(pattern string) error {
	left, err := filepath.Glob(pattern)
	if err != nil {
		return err
	}
	for _, path := range left {
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	return nil
}
