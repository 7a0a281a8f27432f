#!/bin/sh
# Makes images that stand in for those of a public registry, under the same names, where they can't be
# pulled: out of Debian's packages and of the servers that the tests install. They keep to what the compose file uses of the real ones.
# Usage: build.sh IMAGE...   those to make, such as mysql:9.7
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The base: Debian with Java. debootstrap is asked for where it lacks.
base() {
	if docker image inspect duplex-standin-base >/dev/null 2>&1; then return; fi
	command -v debootstrap >/dev/null || apt-get install -y -qq --no-install-recommends debootstrap >/dev/null
	echo "making the base of the stand-ins"
	debootstrap --variant=minbase --include=openjdk-17-jre-headless,ca-certificates bookworm "$work/rootfs" >"$work/log" 2>&1 || { tail -n 20 "$work/log" >&2; exit 1; }
	rm -rf "$work/rootfs/var/cache/apt/archives" "$work/rootfs/var/lib/apt/lists"
	tar -C "$work/rootfs" -c . | docker import - duplex-standin-base >/dev/null
	rm -rf "$work/rootfs"
}

# install PART installs a server of the tests.
install() { (cd "$root" && go run ./internal/testbed/cmd/testbed install "$1" >"$work/log" 2>&1) || { cat "$work/log" >&2; exit 1; }; }

# image IMAGE KIND FOLDER...: an image of the stand-in's Dockerfile and of those folders.
image() {
	name=$1 kind=$2
	shift 2
	mkdir "$work/context"
	cp -r "$here/$kind/." "$work/context"
	for folder; do cp -r "$folder" "$work/context/"; done
	echo "making a stand-in for $name"
	docker build -q -t "$name" "$work/context" >/dev/null
	rm -rf "$work/context"
}

base
for name; do
	case $name in
	mysql:*) install mysql97 && image "$name" mysql "$root/.testbed/mysql97/tree" ;;
	apache/kafka:*) install kafka && image "$name" kafka "$root/.testbed/kafka/libs" ;;
	apicurio/apicurio-registry:*) install registry && image "$name" registry "$root/.testbed/registry/app" ;;
	golang:*)
		# With this machine's modules, as nothing more may be had from within.
		(cd "$root" && go mod download)
		mkdir "$work/context"
		cp -r "$(go env GOROOT)" "$work/context/goroot"
		cp -r "$(go env GOMODCACHE)" "$work/context/modules"
		printf '%s\n' 'FROM duplex-standin-base' 'COPY goroot /usr/local/go' 'COPY modules /go/pkg/mod' \
			'ENV GOPATH=/go PATH=/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin GOTOOLCHAIN=local GOFLAGS=-mod=mod GOPROXY=off GONOSUMDB=* GONOSUMCHECK=1 GOFLAGS=-buildvcs=false' >"$work/context/Dockerfile"
		echo "making a stand-in for $name"
		docker build -q -t "$name" "$work/context" >/dev/null
		chmod -R u+w "$work/context" && rm -rf "$work/context"
		;;
	*) echo "build.sh: nothing stands in for $name" >&2 && exit 1 ;;
	esac
done
