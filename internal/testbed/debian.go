package testbed

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

const debianKeyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// unpackDebian fetches packages of a Debian suite, with all they depend on, and unpacks them into tree. Nothing is
// installed on the machine: apt resolves against an empty package database of its own, so this needs neither root nor a
// chroot, and a server of another suite runs beside this one's with the libraries it was built for.
func unpackDebian(ctx context.Context, tree, suite string, packages []string) error {
	mirror, err := debianMirror(ctx)
	if err != nil {
		return err
	}
	apt := tree + ".apt"
	defer os.RemoveAll(apt)
	options, err := privateApt(apt, fmt.Sprintf("deb [signed-by=%s] %s %s main\n", debianKeyring, mirror, suite))
	if err != nil {
		return err
	}
	if _, err := run(ctx, "", "apt-get", append(options, "update")...); err != nil {
		return fmt.Errorf("reading the package lists of Debian %s: %w", suite, err)
	}
	install := append(options, "--yes", "--download-only", "install")
	if _, err := run(ctx, "", "apt-get", append(install, packages...)...); err != nil {
		return fmt.Errorf("fetching %s from Debian %s: %w", strings.Join(packages, ", "), suite, err)
	}
	debs, err := filepath.Glob(filepath.Join(apt, "cache/archives/*.deb"))
	if err != nil {
		return err
	}
	if len(debs) == 0 {
		return fmt.Errorf("fetching %s from Debian %s: apt-get fetched no package", strings.Join(packages, ", "), suite)
	}
	for _, deb := range debs {
		if _, err := run(ctx, "", "dpkg-deb", "--extract", deb, tree); err != nil {
			return fmt.Errorf("unpacking %s: %w", filepath.Base(deb), err)
		}
	}
	return nil
}

// privateApt lays out an apt state under dir that knows one source and no installed package. Options stand on the command
// line because only they win over the machine's apt.conf.d, whose proxy settings still hold.
func privateApt(dir, source string) ([]string, error) {
	for _, sub := range []string{"lists/partial", "cache/archives/partial", "state", "none"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, err
		}
	}
	for file, text := range map[string]string{"status": "", "sources.list": source} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	var options []string
	for _, o := range [][2]string{
		{"Dir::State", dir + "/state"}, {"Dir::State::lists", dir + "/lists"}, {"Dir::State::status", dir + "/status"},
		{"Dir::Cache", dir + "/cache"}, {"Dir::Etc::sourcelist", dir + "/sources.list"}, {"Dir::Etc::sourceparts", dir + "/none"},
		{"Dir::Etc::preferences", dir + "/none/none"}, {"Dir::Etc::preferencesparts", dir + "/none"},
		{"Acquire::Languages", "none"}, {"APT::Install-Recommends", "false"}, {"APT::Sandbox::User", "root"},
		{"Acquire::IndexTargets::deb::DEP-11::DefaultEnabled", "false"}, {"Acquire::Retries", "3"},
		// Lists are signed all the same; a mirror that is frozen on purpose, or lags, is no reason to fail.
		{"Acquire::Check-Valid-Until", "false"},
	} {
		options = append(options, "-o", o[0]+"="+o[1])
	}
	return append(options, "--quiet"), nil
}

// debianMirror is the mirror that this machine's own apt uses.
func debianMirror(ctx context.Context) (string, error) {
	if _, err := os.Stat(debianKeyring); err != nil {
		return "", fmt.Errorf("finding a Debian mirror: %w: this needs Debian; elsewhere set DUPLEX_MYSQLD to the path of a mysqld", err)
	}
	find := func() (string, error) {
		out, err := run(ctx, "", "apt-get", "indextargets", "--format", "$(SITE) $(RELEASE)", "Created-By: Packages", "Origin: Debian")
		if err != nil {
			return "", fmt.Errorf("finding a Debian mirror: %w", err)
		}
		for line := range strings.Lines(out) {
			site, release, _ := strings.Cut(strings.TrimSpace(line), " ")
			if site != "" && !strings.Contains(release, "-") { // bookworm, not bookworm-security or -updates
				return site, nil
			}
		}
		return "", nil
	}
	mirror, err := find()
	if err != nil || mirror != "" {
		return mirror, err
	}
	// A new machine or container hasn't read its package lists, so apt can't tell yet which source is Debian.
	if err := asRoot(ctx, "apt-get", "update"); err != nil {
		return "", fmt.Errorf("finding a Debian mirror: %w", err)
	}
	mirror, err = find()
	if err == nil && mirror == "" {
		err = fmt.Errorf("finding a Debian mirror: apt's sources name none; add one to /etc/apt/sources.list, or set DUPLEX_MYSQLD to the path of a mysqld")
	}
	return mirror, err
}

// installPackages installs packages on the machine itself.
func installPackages(ctx context.Context, packages []string) error {
	if err := asRoot(ctx, "apt-get", "--quiet", "update"); err != nil {
		return err
	}
	args := []string{"DEBIAN_FRONTEND=noninteractive", "apt-get", "--quiet", "--yes", "-o", "DPkg::Lock::Timeout=600", "--no-install-recommends", "install"}
	return asRoot(ctx, "env", append(args, packages...)...)
}

// asRoot runs a command as root: directly, or with sudo where it asks for no password.
func asRoot(ctx context.Context, program string, args ...string) error {
	if os.Getuid() != 0 {
		program, args = "sudo", append([]string{"-n", program}, args...)
	}
	_, err := run(ctx, "", program, args...)
	if err != nil && os.Getuid() != 0 {
		return fmt.Errorf("%w (run it yourself as root, then try again)", err)
	}
	return err
}

// run runs a program in dir and returns what it printed to stdout; the error holds the end of what it printed at all.
func run(ctx context.Context, dir, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	var out, complaints bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &complaints
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	if err := cmd.Run(); err != nil {
		lines := strings.Split(strings.TrimSpace(out.String()+complaints.String()), "\n")
		return "", fmt.Errorf("running %s: %w:\n%s", program, err, strings.Join(lines[max(0, len(lines)-15):], "\n"))
	}
	return out.String(), nil
}

// tree is a folder of unpacked Debian packages.
type tree string

// command starts a program of the tree through the tree's own loader and libraries, whatever the machine's are.
func (t tree) command(program string) ([]string, error) {
	loader, triplet := "ld-linux-x86-64.so.2", "x86_64-linux-gnu"
	if runtime.GOARCH == "arm64" {
		loader, triplet = "ld-linux-aarch64.so.1", "aarch64-linux-gnu"
	}
	// Newer suites keep everything under /usr; older ones keep the loader and libc outside.
	places := []string{"lib64", "usr/lib64", "lib", "usr/lib", "lib/" + triplet, "usr/lib/" + triplet}
	at := slices.IndexFunc(places, func(place string) bool {
		_, err := os.Stat(filepath.Join(string(t), place, loader))
		return err == nil
	})
	if at < 0 {
		return nil, fmt.Errorf("finding the loader of %s: no %s in it; this runs on amd64 and arm64 only", t, loader)
	}
	return []string{filepath.Join(string(t), places[at], loader), "--library-path", t.libraries(triplet), filepath.Join(string(t), program)}, nil
}

func (t tree) libraries(triplet string) string {
	return filepath.Join(string(t), "lib", triplet) + ":" + filepath.Join(string(t), "usr/lib", triplet)
}
