package testbed

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
)

func pythonPackages() []string { return []string{"python3", "python3-venv"} }

// Python returns a Python that has the packages which a requirements file pins, made once in the cache folder. Where the
// machine has no Python 3 with venv, Debian's is installed.
func (b *Bed) Python(ctx context.Context, requirements string) (program string, err error) {
	text, err := os.ReadFile(requirements)
	if err != nil {
		return "", fmt.Errorf("preparing python: %w", err)
	}
	if err := installPython(ctx, b.cache); err != nil {
		return "", fmt.Errorf("preparing python: %w", err)
	}
	version, err := run(ctx, "", "python3", "-VV")
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(append(text, version...)) // what is installed belongs to this very Python
	dir := filepath.Join(b.cache, "python-"+hex.EncodeToString(sum[:6]))
	unlock, err := lock(ctx, dir+".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	program = filepath.Join(dir, "bin/python3")
	if _, err := os.Stat(dir); err == nil {
		return program, nil
	}
	fresh := dir + ".new"
	if err := os.RemoveAll(fresh); err != nil {
		return "", err
	}
	slog.Info("installing python packages", "requirements", requirements)
	if _, err := run(ctx, "", "python3", "-m", "venv", fresh); err != nil {
		return "", err
	}
	pip := []string{"-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--only-binary", ":all:", "--requirement", requirements}
	if _, err := run(ctx, "", filepath.Join(fresh, "bin/python3"), pip...); err != nil {
		return "", fmt.Errorf("installing %s: %w", requirements, err)
	}
	return program, os.Rename(fresh, dir)
}

// installPython makes sure that the machine can make virtual environments.
func installPython(ctx context.Context, cache string) error {
	there := func() bool { return exec.CommandContext(ctx, "python3", "-c", "import venv, ensurepip").Run() == nil }
	if there() {
		return nil
	}
	unlock, err := lock(ctx, filepath.Join(cache, "apt.lock"))
	if err != nil {
		return err
	}
	defer unlock()
	if there() {
		return nil
	}
	slog.Info("installing packages on this machine", "packages", pythonPackages())
	if err := installPackages(ctx, pythonPackages()); err != nil {
		return fmt.Errorf("installing %v: %w", pythonPackages(), err)
	}
	return nil
}
