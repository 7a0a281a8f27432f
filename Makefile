# make build    one static program, bin/duplex
# make demo     two regions that both write, live, for DEMO_SECONDS
# make test     install real servers once (.testbed), then vet and test against them
# make fuzz     the fuzz targets of what comes from outside, FUZZTIME each (1h), two at once
# make lint     formatting, vet and staticcheck
# make bench    measure; BENCH_ARGS go to ./bench
# make bench-X  measure one part: bench-lag, bench-capture, bench-apply
# make sim      random histories of the rules for conflicts, for SIM_SECONDS (60); SIM_SEED=n shows one
# make soak     the long versions of the tests
# make up       everything in containers
# make try-up   the same run end to end once, with a Docker engine and images made here where there are none
# make clean    remove what was built, and the installed servers

GO           ?= go
DEMO_SECONDS ?= 30
FUZZTIME     ?= 1h
BENCH_ARGS   ?=
SIM_SECONDS  ?= 60
STATICCHECK  := honnef.co/go/tools/cmd/staticcheck@v0.7.0

.PHONY: build demo test fuzz lint bench sim soak up try-up clean

build:
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/duplex ./cmd/duplex

demo: build
	$(GO) run ./internal/testbed/cmd/testbed install mysql
	DEMO_SECONDS=$(DEMO_SECONDS) bin/duplex demo

test:
	$(GO) run ./internal/testbed/cmd/testbed install compiler all
	$(GO) vet ./...
	$(GO) test -race -p 2 -timeout 40m ./...
	$(MAKE) fuzz FUZZTIME=10s

# package/target: events, table maps, row images, JSON and GTID sets of the
# binlog; envelopes of the topics; blocks of the spilled index.
FUZZ := converge/FuzzBlock capture/binlog/FuzzStream capture/binlog/FuzzTableMap capture/binlog/FuzzDecode capture/binlog/FuzzJSON capture/binlog/FuzzPosition schemas/FuzzDecode

fuzz:
	@printf '%s\n' $(FUZZ) | xargs -P 2 -I{} sh -c '$(GO) test ./$$(dirname {}) -run=^$$ -fuzz=^$$(basename {})$$ -fuzztime=$(FUZZTIME) -fuzzminimizetime=10x -parallel=1 >.fuzz.$$(basename $$(dirname {})).$$(basename {}).log 2>&1 || { cat .fuzz.$$(basename $$(dirname {})).$$(basename {}).log; exit 255; }; tail -n 1 .fuzz.$$(basename $$(dirname {})).$$(basename {}).log; rm .fuzz.$$(basename $$(dirname {})).$$(basename {}).log'

lint:
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$unformatted" ]; then echo "run gofmt -w on: $$unformatted" >&2; exit 1; fi
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...

bench:
	$(GO) run ./bench $(BENCH_ARGS)

bench-%:
	$(GO) run ./bench $*

sim:
	@SIM_SECONDS=$(SIM_SECONDS) $(GO) run ./converge/sim

soak:
	DUPLEX_SOAK=1 $(GO) test -count=1 -timeout 6h ./e2e ./converge/...

up:
	docker/setup.sh
	docker compose -f docker/docker-compose.yml up --build

try-up:
	docker/try.sh

clean:
	rm -rf bin .testbed
	$(GO) clean -testcache
