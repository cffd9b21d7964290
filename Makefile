# make run | test | test-full | lab   (README explains them; everything is installed into .venv first)
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
MINUTES ?= 5
INSTALLED := $(VENV)/.installed
DEMO := $(CURDIR)/$(VENV)/demo
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -c .ci/pytest.ini

.PHONY: help install run retrain remeasure demo test test-full fuzz bench bench-train bench-memory bench-maps bench-browse lab notebooks readme gallery lock clean
help:
	@echo 'make run [DATA=path] [EPOCHS=n] [PRESET=brief|quick|hour|half|best] [START=default] [TEACHER=default]   faces to activation maps; the faces drawn here, or FER2013'
	@echo 'make run PRETRAINED=1 [DATA=path]   the same with the shipped network, without training'
	@echo 'make retrain [NAME=default|apart|half|champion] DATA=path   the trainings that led to a shipped network, one after another: hours, under torch (pip install torch)'
	@echo 'make remeasure DATA=path   after shipping other weights: what nbs/results says of them, by the commands kept there: hours'
	@echo 'make lab         open JupyterLab on the notebooks'
	@echo 'make test        the tests; make test-full adds the long ones'
	@echo 'make fuzz [SECONDS=n] [SEED=n]   hostile inputs: damaged pictures, archives, tables, model files'
	@echo 'make bench-train [MINUTES=n]   how fast training is here, beside plain Keras, and how accurate after each of n minutes (5; 0: not asked), on the ZIP that EMOTION_MAPS_FER2013 names, else on drawn faces; make bench measures every speed'
	@echo 'make notebooks   run all notebooks again, export the modules, make README; make lock compiles requirements.txt'

install: $(INSTALLED)
$(INSTALLED): requirements.txt settings.ini setup.py
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else f"This project needs Python 3.11 to 3.13, and $(PYTHON) is {v[0]}.{v[1]}: say make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

run: install
	$(BIN)/emotion-maps run $(if $(DATA),--data "$(DATA)") $(if $(EPOCHS),--epochs $(EPOCHS)) $(if $(PRESET),--preset $(PRESET)) $(if $(START),--start "$(START)") $(if $(TEACHER),--teacher "$(TEACHER)") $(if $(PRETRAINED),--model default)

retrain: install
	@$(if $(DATA),,$(error say which data: make retrain DATA=path/to/fer2013.zip))$(BIN)/python .ci/retrain.py $(or $(NAME),default) "$(DATA)"

remeasure: install
	@$(if $(DATA),,$(error say which data: make remeasure DATA=path/to/fer2013.zip))$(BIN)/python .ci/remeasure.py "$(DATA)"

# The tiny network that tests of chapters look at is trained once for all of them.
demo: install
	@rm -rf "$(DEMO)"
	@env -u EMOTION_MAPS_DEMO TF_CPP_MIN_LOG_LEVEL=3 $(BIN)/python -c "import sys; from emotion_maps.train import demo_training; demo_training(sys.argv[1])" "$(DEMO)"

test test-full: export EMOTION_MAPS_DEMO := $(DEMO)
test: demo
	$(BIN)/nbdev_test --n_workers 2 --do_print --timing
	$(PYTEST) -m 'not slow' .ci/tests

test-full: demo
	$(BIN)/nbdev_test --n_workers 2 --do_print --timing
	$(PYTEST) .ci/tests

fuzz: install
	$(BIN)/python .ci/fuzz.py --seconds $(or $(SECONDS),120) $(if $(SEED),--seed $(SEED))

bench: bench-train bench-memory bench-maps bench-browse

bench-memory: install
	$(BIN)/python .ci/bench_memory.py

bench-maps: install
	$(BIN)/python .ci/bench_maps.py
	$(BIN)/python .ci/bench_attribution.py

bench-browse: install
	$(BIN)/python .ci/bench_browse.py

bench-train: install
	$(BIN)/python .ci/bench_train.py --minutes $(MINUTES)

lab: install
	$(BIN)/jupyter lab nbs

notebooks: install
	$(BIN)/nbdev_export
	$(BIN)/python .ci/execute_notebooks.py
	$(MAKE) readme

readme: install
	$(BIN)/python .ci/make_readme.py

gallery: install
	$(BIN)/python .ci/make_gallery.py

lock: install
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/python .ci/compile_requirements.py

clean:
	rm -rf $(VENV) build *.egg-info
