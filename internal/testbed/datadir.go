package testbed

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// program is how to run an installed database server.
type program struct {
	argv  []string // the program and, before it, the loader it is started through
	env   []string
	args  []string // where its own files are; --no-defaults comes first, as the server demands
	maria bool
}

// programOf says how the server installed at p is run.
func programOf(p place) (program, error) {
	me, err := user.Current()
	if err != nil {
		return program{}, fmt.Errorf("finding the user to run mysqld as: %w", err)
	}
	args := []string{"--no-defaults", "--user=" + me.Username}
	if p.system != "" {
		return program{argv: []string{p.system}, args: args}, nil
	}
	e, ok := engineOf(p.part)
	if !ok {
		return program{}, fmt.Errorf("starting %s: it is no database server", p.part)
	}
	t := tree(filepath.Join(p.dir, "tree"))
	usr := filepath.Join(string(t), "usr")
	if p.part == MySQL80 {
		// Built for older machines, it runs with this one's libc and brings its own libssl.
		server := filepath.Join(string(t), "server")
		args = append(args, "--basedir="+server, "--lc-messages-dir="+server+"/share", "--plugin-dir="+server+"/lib/plugin")
		return program{
			argv: []string{filepath.Join(string(t), e.program)}, args: args,
			env: []string{"LD_LIBRARY_PATH=" + t.libraries("x86_64-linux-gnu")},
		}, nil
	}
	argv, err := t.command(e.program)
	if err != nil {
		return program{}, err
	}
	messages := filepath.Join(usr, "share/mysql")
	if e.maria {
		messages = mariaShare(t)
		args = append(args, "--character-sets-dir="+messages+"/charsets")
	}
	plugins := filepath.Join(usr, "lib/mysql/plugin")
	args = append(args, "--basedir="+usr, "--lc-messages-dir="+messages, "--plugin-dir="+plugins)
	return program{argv: argv, args: args, maria: e.maria}, nil
}

// mariaShare is the folder of MariaDB's messages and system tables: MariaDB 10.11 still has MySQL's name for it.
func mariaShare(t tree) string {
	share := filepath.Join(string(t), "usr/share/mariadb")
	if _, err := os.Stat(share); err != nil {
		share = filepath.Join(string(t), "usr/share/mysql")
	}
	return share
}

// initializeData makes the data directory p.dir/data that every server of this part starts from as a copy: root without
// a password, no schema, no binlog. Making one takes seconds, copying it a fifth of one.
func initializeData(ctx context.Context, p place) error {
	pr, err := programOf(p)
	if err != nil {
		return err
	}
	data := filepath.Join(p.dir, "data")
	if err := os.Mkdir(data, 0o755); err != nil {
		return err
	}
	// A server that starts removes what it takes for its own leftovers from tmpdir, were it another's that is running.
	tmp := filepath.Join(p.dir, "tmp")
	if err := os.Mkdir(tmp, 0o755); err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	args := append(append(pr.argv[1:len(pr.argv):len(pr.argv)], pr.args...), "--datadir="+data, "--tmpdir="+tmp)
	cmd := exec.CommandContext(ctx, pr.argv[0])
	if pr.maria {
		// mariadb-install-db, which would do this, runs in a chroot only.
		script, err := mariaBootstrap(tree(filepath.Join(p.dir, "tree")))
		if err != nil {
			return err
		}
		cmd.Stdin = strings.NewReader(script)
		args = append(args, "--bootstrap", "--max-allowed-packet=8M", "--innodb-log-file-size=16M")
	} else {
		args = append(args, "--initialize-insecure", "--skip-log-bin", "--secure-file-priv=NULL", "--loose-innodb-redo-log-capacity=8M")
	}
	cmd.Args = append(cmd.Args[:1], args...)
	cmd.Env = append(os.Environ(), pr.env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initializing a data directory: %w:\n%s", err, out)
	}
	// Every copy makes its own, hence a server_uuid of its own.
	if err := os.Remove(filepath.Join(data, "auto.cnf")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// mariaBootstrap is the SQL that makes MariaDB's system tables, in the order mariadb-install-db has it.
func mariaBootstrap(t tree) (string, error) {
	var script strings.Builder
	script.WriteString("create database mysql;\nuse mysql;\nset @auth_root_socket=NULL;\nset @skip_auth_anonymous=1;\n")
	share := mariaShare(t)
	for _, name := range []string{"mariadb_system_tables.sql", "mariadb_performance_tables.sql", "mariadb_system_tables_data.sql", "maria_add_gis_sp_bootstrap.sql", "mariadb_sys_schema.sql"} {
		text, err := os.ReadFile(filepath.Join(share, name))
		if errors.Is(err, os.ErrNotExist) {
			text, err = os.ReadFile(filepath.Join(share, strings.Replace(name, "mariadb_", "mysql_", 1)))
		}
		if err != nil {
			return "", fmt.Errorf("reading MariaDB's system tables: %w", err)
		}
		script.Write(text)
		script.WriteByte('\n')
	}
	return script.String(), nil
}

// systemMySQL finds the mysqld to prefer over an installed one: the one DUPLEX_MYSQLD names, which must suit, else one on
// PATH, if that suits. Without one path is "".
func systemMySQL(ctx context.Context) (path string, version [3]int, err error) {
	if path = os.Getenv("DUPLEX_MYSQLD"); path != "" {
		if path, err = exec.LookPath(path); err == nil {
			path, err = filepath.Abs(path)
		}
		if err == nil {
			version, err = mysqlVersion(ctx, path)
		}
		if err != nil {
			return "", version, fmt.Errorf("using the mysqld that DUPLEX_MYSQLD names: %w; unset it to have MySQL installed", err)
		}
		return path, version, nil
	}
	if path, err = exec.LookPath("mysqld"); err != nil {
		return "", version, nil
	}
	if version, err = mysqlVersion(ctx, path); err != nil {
		return "", version, nil // MariaDB's mysqld, or an old one: as good as none
	}
	return path, version, nil
}

// mysqlVersion asks a mysqld for its version and refuses what Duplex can't read: MariaDB under this name, and MySQL
// before 8.0.1, whose binlog has no column names.
func mysqlVersion(ctx context.Context, path string) (v [3]int, err error) {
	out, err := run(ctx, "", path, "--no-defaults", "--version")
	if err != nil {
		return v, err
	}
	m := regexp.MustCompile(`Ver (\d+)\.(\d+)\.(\d+)(-MariaDB)?`).FindStringSubmatch(out)
	if m == nil {
		return v, fmt.Errorf("reading the version of %s: no version in %q", path, strings.TrimSpace(out))
	}
	for i := range v {
		v[i], _ = strconv.Atoi(m[i+1])
	}
	if m[4] != "" || v[0] < 8 || v == [3]int{8, 0, 0} {
		return v, fmt.Errorf("reading the version of %s: it is %s; MySQL 8.0.1 or later is needed", path, strings.TrimSpace(out))
	}
	return v, nil
}
