# Needs Go, make and git. `make` alone lists what it can do.

GO    ?= go
BIN   := bin/keyreeve
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.7.0

# Keyreeve is pure Go. One setting for every target keeps one build cache, in
# which Caddy is compiled once.
export CGO_ENABLED ?= 0

.DEFAULT_GOAL := help
.PHONY: help run build test soak bench screenshots lint fmt

help: ## list the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

run: build ## build and run the demo: a gate in front of an echo upstream
	@exec $(BIN) demo $(ARGS)

build: ## build bin/keyreeve: all of Caddy plus this module
	$(GO) build -o $(BIN) ./cmd/keyreeve

test: build ## install what the tests need and is missing, then run all of them
	@./scripts/test-deps
	KEYREEVE_BIN='$(abspath $(BIN))' $(GO) test -timeout 20m ./...

soak: build ## run the long rounds over several gates: 10,000 revocations, 1,000 kills, hours
	@./scripts/test-deps
	KEYREEVE_BIN='$(abspath $(BIN))' KEYREEVE_SOAK=20 $(GO) test ./test/cluster -v -count=1 -timeout 3h -run 'TestNoGateAcceptsWhatAGateAnsweredToBeRevoked$$|TestALockAndItsEndAreInForceUnderLoad$$'
	KEYREEVE_BIN='$(abspath $(BIN))' KEYREEVE_SOAK=5 $(GO) test ./test/cluster -v -count=1 -timeout 3h -run 'TestNoAcknowledgedWriteIsLostWhenGatesAreKilled$$'
	KEYREEVE_BIN='$(abspath $(BIN))' KEYREEVE_SOAK=20 $(GO) test ./test/cluster -v -count=1 -timeout 3h -run 'HaveAnOrder|IsMadeOnce'
	KEYREEVE_BIN='$(abspath $(BIN))' KEYREEVE_SOAK=20 $(GO) test ./test/load -v -count=1 -timeout 3h

bench: ## run the in-process benchmarks and compare
	$(GO) run ./bench/cmd/benchtable $(ARGS)

screenshots: build ## take the README's pictures of the page anew, with Chromium
	@./scripts/test-deps
	KEYREEVE_BIN='$(abspath $(BIN))' KEYREEVE_README_PICTURES='$(abspath docs/images)' $(GO) test ./test/browser -run TestThePicturesOfTheReadme -count=1

lint: ## gofmt, go vet, staticcheck
	@unformatted="$$(gofmt -l .)"; if [ -n "$$unformatted" ]; then \
		printf 'not gofmt-clean, run `make fmt`:\n%s\n' "$$unformatted" >&2; exit 1; fi
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...

fmt: ## format the Go code
	gofmt -w .
