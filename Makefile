# affectlib. Needs Python 3.11 to 3.13 and make; everything else is installed into .venv.
# Where this is set, as in many containers, every process would compile torch and the rest anew: 14 s.
unexport PYTHONDONTWRITEBYTECODE
# Linux (glibc) would give each large array back to the system at once, and have the next one cleared anew: an eighth of
# the processor time of a training. Now a process keeps up to 4 GB of what it once held; it holds no more at its peak.
export MALLOC_TRIM_THRESHOLD_ ?= 4000000000
export MALLOC_MMAP_THRESHOLD_ ?= 4000000000
export MALLOC_ARENA_MAX ?= 1
PYTHON  ?= python3
PAPER   ?= all
PROFILE ?= demo
CORPUS  ?= simulated
JOBS    ?= 2
BIN     := .venv/bin
# Relative, so that no folder outside the checkout is ever named to rm, whatever the checkout's path holds.
TEST_FIGURES := build/test-figures
# Checks wait for processes and files a third of their time: without a JOBS of one's own, three of them fill two cores.
CHECKS_AT_ONCE := $(if $(filter file,$(origin JOBS)),3,"$$OPTION_JOBS")
# In this order, those that 06 waits for early, all three ways end at about the same time.
LONGEST := check-02_shot_long check-01_mood_change check-04_gla check-05_caan check-03_attend_affect
# More than a third of the time of the unit tests: as one process they are the longest part, and leave a core idle.
FILM_TESTS := tests/features tests/film tests/simulate
FOUND   := $(patsubst notebooks/%.ipynb,check-%,$(wildcard notebooks/*.ipynb))
CHECKS  := $(filter $(FOUND),$(LONGEST)) $(filter-out $(LONGEST),$(FOUND))

# Options are text that make and the shell pass on as it stands. Names of films may hold anything, also `...` and $$(...):
# make takes each option unexpanded, and the shell reads it from its environment, as "$$OPTION_<name>".
OPTIONS := PAPER PROFILE CORPUS SET DRY_RUN FRESH JOBS EXTRACTORS FEATURES PRECISION ROOT SECONDS PARTS ON_ERROR DASK_SCHEDULER GRID NAMES FROM LAB_ARGS TORCH FILM MODEL ANNOTATION OUT SMOOTHING
$(foreach name,$(OPTIONS),$(eval override $(name) := $$(value $(name))))
$(foreach name,$(OPTIONS),$(eval export OPTION_$(name) := $$($(name))))
unexport $(OPTIONS)
# Its presence tells that somebody watches a notebook (affectlib/progress.py).
unexport JPY_SESSION_NAME
# $(call given,ROOT,root) is --root="$$OPTION_ROOT", and nothing where ROOT is not given.
given = $(if $($1),--$2="$$OPTION_$1")
GIVEN   := $(foreach name,$(.VARIABLES),$(if $(filter command,$(origin $(name))),$(name)))
UNKNOWN := $(filter-out $(OPTIONS) PYTHON BIN SHELL MAKEFLAGS,$(GIVEN))
ifneq ($(UNKNOWN),)
  $(error no option $(UNKNOWN); there are $(OPTIONS) PYTHON)
endif

.DEFAULT_GOAL := help
.PHONY: help env reproduce test checks unit unit-films unit-others $(CHECKS) browser lab site course notebooks spread benchmarks weights lock extract film sweep clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  options of reproduce: PAPER=$$OPTION_PAPER|\"gla caan\" PROFILE=demo|full|paper CORPUS=simulated|real JOBS=$$OPTION_JOBS SET=\"name=value ...\" DRY_RUN=yes FRESH=yes"

# The copies in .venv are compared by content: dates say nothing after a checkout. TORCH stays as it was chosen first.
env:  ## build .venv from requirements.lock (hashes checked); TORCH=cpu: without CUDA, torch from its own index
	@kind="$${OPTION_TORCH:-$$(cat .venv/torch 2>/dev/null || echo lock)}"; \
	case "$$kind" in lock|cpu) ;; *) echo "error: no TORCH $$kind; there are lock, cpu" >&2; exit 1;; esac; \
	if ! cmp -s requirements.lock .venv/requirements.lock || ! cmp -s pyproject.toml .venv/pyproject.toml \
	  || test "$$kind" != "$$(cat .venv/torch 2>/dev/null || echo lock)"; then \
	  set -e; \
	  if test -e .venv; then place=.venv; else place=.; fi; \
	  test -w "$$place" || { echo "error: $$PWD: .venv has to be built, and may not be written here: allow it, or copy the checkout to another folder" >&2; exit 1; }; \
	  $(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] < (3, 14) else "affectlib needs Python 3.11 to 3.13, this is %s: name another with make PYTHON=..." % sys.version.split()[0])'; \
	  echo "environment: installing requirements.lock into .venv"; \
	  test -x $(BIN)/python || $(PYTHON) -m venv .venv; \
	  sed -n '/^uv==/,/# via/p' requirements.lock > .venv/uv.txt; \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r .venv/uv.txt; \
	  if test "$$kind" = lock; then cp requirements.lock .venv/wanted.txt; \
	  else awk '/^[a-z]/ {cuda = /^(cuda-|nvidia-|triton==|torch==|torchvision==)/} !cuda' requirements.lock > .venv/wanted.txt; fi; \
	  $(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes .venv/wanted.txt; \
	  if test "$$kind" = cpu; then $(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --torch-backend cpu \
	    $$(grep -oE '^torch(vision)?==[0-9.]+' requirements.lock); fi; \
	  $(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .; \
	  echo "$$kind" > .venv/torch; \
	  cp requirements.lock pyproject.toml .venv/; \
	fi

reproduce: env  ## run every notebook headless, write figures/, print one table
	@$(BIN)/affectlib reproduce --paper="$$OPTION_PAPER" --profile="$$OPTION_PROFILE" --corpus="$$OPTION_CORPUS" \
	  --set="$$OPTION_SET" --jobs="$$OPTION_JOBS" $(if $(DRY_RUN),--dry-run) $(if $(FRESH),--fresh)

test: env  ## lint, unit tests, doctests, and the committed notebooks against their outputs (nbval), three or JOBS at once
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	rm -rf "$(TEST_FIGURES)"
	@$(MAKE) --no-print-directory --jobs $(CHECKS_AT_ONCE) checks
	AFFECTLIB_TEST_FIGURES="$$PWD/$(TEST_FIGURES)" $(BIN)/python -m pytest tests/notebooks/test_results.py

checks: unit $(CHECKS)

unit: unit-films unit-others

unit-films:
	$(BIN)/python -m pytest $(FILM_TESTS)

unit-others:
	$(BIN)/python -m pytest --doctest-modules affectlib tests $(FILM_TESTS:%=--ignore %) --ignore tests/notebooks/test_results.py

$(CHECKS): check-%: notebooks/%.ipynb
	AFFECTLIB_FIGURES="$$PWD/$(TEST_FIGURES)" $(BIN)/python -m pytest --nbval-lax --nbval-current-env --nbval-cell-timeout 900 $<

check-06_comparison: $(filter check-02_shot_long check-04_gla,$(CHECKS))  # reads their results

browser: env  ## open notebooks in JupyterLab, every page of the site, and a film's report, with a real Chromium (AFFECTLIB_BROWSER=long: 03 and 05 to the end, too)
	AFFECTLIB_BROWSER="$${AFFECTLIB_BROWSER:-1}" $(BIN)/python -m pytest tests/notebooks/test_lab.py tests/runner/test_site_in_browser.py tests/film/test_report.py

lab: env  ## JupyterLab at the notebooks [LAB_ARGS="--no-browser --port=9000"]
	@set -f; $(BIN)/affectlib lab $$OPTION_LAB_ARGS

site: env  ## the site of the executed notebooks, in build/site
	@$(BIN)/affectlib site

course: env  ## the notebooks for students and teachers, in build/course
	@$(BIN)/affectlib course

notebooks: env  ## re-run the demo, store the executed notebooks and the README's table (before a commit)
	@$(BIN)/affectlib notebooks --paper="$$OPTION_PAPER" --jobs="$$OPTION_JOBS"

spread: env  ## run the demo with other seeds, store how far each number moves (after `make notebooks`)
	@$(BIN)/affectlib spread --paper="$$OPTION_PAPER" --jobs="$$OPTION_JOBS"

extract: env  ## CORPUS=cognimuse|film.mp4 EXTRACTORS=descriptors|gla [FEATURES= PRECISION= ROOT= SECONDS= PARTS= ON_ERROR=raise|skip DASK_SCHEDULER=]; ON_ERROR=skip leaves out damaged clips
	@$(BIN)/affectlib extract --corpus="$$OPTION_CORPUS" --jobs="$$OPTION_JOBS" $(call given,EXTRACTORS,extractors) \
	  $(call given,FEATURES,features) $(call given,PRECISION,precision) $(call given,ROOT,root) $(call given,SECONDS,seconds) $(call given,PARTS,parts) \
	  $(call given,ON_ERROR,on-error) $(call given,DASK_SCHEDULER,dask-scheduler)

sweep: env  ## a notebook over a grid: PAPER=gla [GRID=grid.yaml PROFILE= CORPUS= DASK_SCHEDULER=tcp://host:8786]
	@$(BIN)/affectlib sweep --paper="$$OPTION_PAPER" --profile="$$OPTION_PROFILE" --corpus="$$OPTION_CORPUS" \
	  --jobs="$$OPTION_JOBS" $(call given,GRID,grid) $(call given,DASK_SCHEDULER,dask-scheduler)

film: env  ## a film of yours, a folder of films, or an open film: FILM=holiday.mp4|folder|sintel [MODEL=simulated|released|real|models.pt ANNOTATION= OUT= SMOOTHING=]
	@test -n "$$OPTION_FILM" || { echo "error: no film: make film FILM=holiday.mp4" >&2; exit 2; }
	@$(BIN)/affectlib film --jobs="$$OPTION_JOBS" $(call given,MODEL,model) $(call given,ANNOTATION,annotation) \
	  $(call given,OUT,out) $(call given,SMOOTHING,smoothing) -- "$$OPTION_FILM"

benchmarks: env  ## speed beside what one would write instead, into benchmarks/results.md [NAMES="faces sound"]
	@set -f; $(BIN)/python -m benchmarks -- $$OPTION_NAMES

weights: env  ## download the released weights that may be fetched: all, or NAMES="vggish i3d"; make one: NAMES=xception FROM=<RAF-DB>, NAMES=vgg16_places FROM=<caffemodel>
	@set -f; $(BIN)/affectlib weights $(call given,FROM,from) -- $$OPTION_NAMES

lock:  ## resolve pyproject.toml anew into requirements.lock
	$(BIN)/uv pip compile pyproject.toml --group notebooks --group site --group course --group test --output-file requirements.lock --upgrade --generate-hashes --no-emit-index-url --universal --fork-strategy fewest --python-version 3.11 --quiet --custom-compile-command "make lock"

clean:  ## remove simulated corpora, features and executed notebooks
	rm -rf build
