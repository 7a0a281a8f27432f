# make build    one static program, bin/duplex
# make demo     two regions that both write, live, for DEMO_SECONDS
# make test     install real servers once (.testbed), then vet and test against them
# make lint     formatting, vet and staticcheck
# make bench    measure; BENCH_ARGS go to ./bench
# make bench-X  measure one part: bench-lag, bench-throughput, bench-capture
# make soak     the long versions of the end-to-end tests
# make up       everything in containers
# make clean    remove what was built, and the installed servers

GO           ?= go
DEMO_SECONDS ?= 30
BENCH_ARGS   ?=
STATICCHECK  := honnef.co/go/tools/cmd/staticcheck@v0.7.0

.PHONY: build demo test lint bench soak up clean

build:
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/duplex ./cmd/duplex

demo: build
	$(GO) run ./internal/testbed/cmd/testbed install mysql
	DEMO_SECONDS=$(DEMO_SECONDS) bin/duplex demo

test:
	$(GO) run ./internal/testbed/cmd/testbed install compiler all
	$(GO) vet ./...
	$(GO) test -race -p 2 -timeout 20m ./...

lint:
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$unformatted" ]; then echo "run gofmt -w on: $$unformatted" >&2; exit 1; fi
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...

bench:
	$(GO) run ./bench $(BENCH_ARGS)

bench-%:
	$(GO) run ./bench $*

soak:
	DUPLEX_SOAK=1 $(GO) test -count=1 -timeout 6h ./e2e

up:
	docker/setup.sh
	docker compose -f docker/docker-compose.yml up --build

clean:
	rm -rf bin .testbed
	$(GO) clean -testcache
