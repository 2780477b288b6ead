"""Files from strangers are data: nothing in them is executed, and what is wrong is said."""

from __future__ import annotations

import ast
import io
import json
import os
import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from rich.console import Console

from hnlmrec.artifacts import RunFolder
from hnlmrec.config import RunConfig
from hnlmrec.context import Context
from hnlmrec.data.interactions import Interactions, ItemTexts
from hnlmrec.data.prepare import PrepareReport, load_reviews
from hnlmrec.errors import HnlmrecError
from hnlmrec.evaluation.evaluate import Evaluation
from hnlmrec.language import LocalLanguageModel, locate
from hnlmrec.language.cache import AnswerCache
from hnlmrec.pipeline import Pipeline
from hnlmrec.profiles import Profiles
from hnlmrec.profiles.wording import Wording
from hnlmrec.report.load import load as load_report
from hnlmrec.reporting import Reporter
from hnlmrec.studies.definition import Study
from hnlmrec.synthesis.model import read_adapter
from hnlmrec.synthesis.states import load_untuned
from hnlmrec.synthesis.store import NegativeStore
from hnlmrec.training import TrainedModel
from hnlmrec.training.checkpoint import read_checkpoint
from synthesis_cases import language_config
from synthetic import small_config

SOURCES = sorted(Path(__file__).parents[2].joinpath("src").rglob("*.py"))
# what turns bytes into objects by running what they say, or text into code
_FORBIDDEN_MODULES = {
    "pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "code",
    "codeop", "runpy", "multiprocessing",
}  # fmt: skip
# reached through another module, as in `ray.cloudpickle`; "code" is an attribute of much else
_FORBIDDEN_ATTRIBUTES = _FORBIDDEN_MODULES - {"code", "multiprocessing"}
_FORBIDDEN_CALLS = {
    "eval", "exec", "compile", "__import__", "execfile", "torch.load", "torch.save",
    "torch.hub.load", "torch.jit.load", "torch.package.PackageImporter", "np.save", "numpy.save",
    "yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load", "yaml.dump",
    "pl.read_ipc", "pd.read_pickle", "os.system", "os.popen", "subprocess.run", "subprocess.Popen",
}  # fmt: skip
# a loader that makes no objects either, and this interpreter on a program that stands there
_LOOKED_AT = {"parsing.py": ["yaml.load()"], "parquet.py": ["subprocess.run()"]}
_FORBIDDEN_ARGUMENTS = {"allow_pickle", "trust_remote_code", "weights_only", "shell"}


def _dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def _dangers(tree: ast.AST) -> Iterator[str]:
    """What in a source could execute what it reads."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        else:
            names = []
        yield from (name for name in names if name.split(".")[0] in _FORBIDDEN_MODULES)
        if isinstance(node, ast.Attribute) and node.attr in _FORBIDDEN_ATTRIBUTES:
            yield _dotted(node)
        if isinstance(node, ast.Call):
            name = _dotted(node.func)
            if name in _FORBIDDEN_CALLS or name.endswith((".read_pickle", ".to_pickle")):
                yield f"{name}()"
            for keyword in node.keywords:
                if keyword.arg in _FORBIDDEN_ARGUMENTS:
                    yield f"{name}({keyword.arg}=)"


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from joblib import load",
        "torch.load(path)",
        "numpy.load(path, allow_pickle=True)",
        "yaml.load(text)",
        "frame.read_pickle(path)",
        "ray.cloudpickle.loads(data)",
        "load = require('ray').cloudpickle.loads",
        "eval(text)",
        "AutoModel.from_pretrained(path, trust_remote_code=True)",
    ],
)
def test_the_search_finds_what_it_looks_for(text: str) -> None:
    assert list(_dangers(ast.parse(text)))


def test_no_source_unpickles_or_evaluates() -> None:
    assert len(SOURCES) > 150
    found = {
        file.name: dangers
        for file in SOURCES
        if (dangers := list(_dangers(ast.parse(file.read_text("utf-8")))))
    }
    assert found == _LOOKED_AT


def test_only_one_place_says_whether_models_bring_code() -> None:
    told = [file.name for file in SOURCES if "trust_remote_code" in file.read_text("utf-8")]
    # the constant, and the error that has to be reworded
    assert told == ["extras.py", "local.py"]
    from hnlmrec.language.extras import DATA_ONLY

    assert DATA_ONLY == {"trust_remote_code": False, "local_files_only": True}
    loads = [
        (file.name, node)
        for file in SOURCES
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Call) and _dotted(node.func).endswith(".from_pretrained")
    ]
    assert {name for name, _ in loads} == {"gguf.py", "local.py"}
    for _, node in loads:
        unpacked = {_dotted(keyword.value) for keyword in node.keywords if keyword.arg is None}
        assert unpacked & {"DATA_ONLY", "source"}


# what follows is read from here on


class _Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.mark}",)


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    return tmp_path / "executed"


@pytest.fixture
def payload(mark: Path) -> Iterator[bytes]:
    """A pickle that shows that it was loaded; the test fails when it was."""
    data = pickle.dumps(_Payload(mark))
    pickle.loads(data)  # noqa: S301
    assert mark.exists()  # it works
    mark.unlink()
    yield data
    assert not mark.exists(), "the payload was executed"


@pytest.fixture(scope="module")
def finished(
    small_data: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> RunConfig:
    config = small_config(small_data, tiny_model, tmp_path_factory.mktemp("trusted") / "run")
    Pipeline(config, _quiet()).run(["compare"])
    return config


def _quiet() -> Reporter:
    return Reporter(Console(file=io.StringIO()))


def _context(run: Path) -> Context:
    return Context(RunConfig(run=run), RunFolder(run), _quiet())


_SEMANTIC = "train/hnlmrec-seed0"
READERS: dict[str, Callable[[Path], object]] = {
    "config.yaml": lambda run: RunConfig.from_yaml(run / "config.yaml"),
    "prepare/stage.json": lambda run: RunFolder(run).record("prepare"),
    "prepare/report.json": lambda run: PrepareReport.load(run / "prepare"),
    "prepare/interactions.parquet": lambda run: Interactions.load(run / "prepare"),
    "prepare/users.parquet": lambda run: Interactions.load(run / "prepare"),
    "prepare/item_ids.parquet": lambda run: Interactions.load(run / "prepare"),
    "prepare/item_texts.parquet": lambda run: ItemTexts.load(run / "prepare"),
    "prepare/reviews.parquet": lambda run: load_reviews(run / "prepare"),
    "profile/users.parquet": lambda run: Profiles.load(run / "profile"),
    "encode/items/untuned.json": lambda run: load_untuned(run / "encode/items"),
    "pretrain/embeddings.safetensors": lambda run: _context(run).pretrained(),
    "finetune/adapter.safetensors": lambda run: read_adapter(run / "finetune"),
    "synthesize/negatives.json": lambda run: NegativeStore.open(
        run / "synthesize", Interactions.load(run / "prepare")
    ),
    "synthesize/negatives-00000.float16": lambda run: NegativeStore.open(
        run / "synthesize", Interactions.load(run / "prepare")
    ),
    f"{_SEMANTIC}/model.safetensors": lambda run: TrainedModel.load(run / _SEMANTIC),
    "evaluate/hnlmrec-seed0/per_user.parquet": lambda run: Evaluation.load(
        run / "evaluate/hnlmrec-seed0/per_user.parquet"
    ),
    "study.json": load_report,
    "answers.sqlite": lambda run: AnswerCache(run / "answers.sqlite"),
    "wording.yaml": lambda run: Wording.read("users", run / "wording.yaml"),
    "mine.yaml": lambda run: Study.load(str(run / "mine.yaml")),
    "model.gguf": lambda run: locate(str(run / "model.gguf"), run / "cache"),
}


@pytest.mark.parametrize("name", READERS)
def test_a_pickle_in_the_place_of_an_artefact_is_refused(
    name: str, finished: RunConfig, payload: bytes, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished.run, run)
    (run / name).write_bytes(payload)
    with pytest.raises(HnlmrecError) as caught:
        READERS[name](run)
    assert str(run) in str(caught.value)


def test_all_kinds_of_files_of_a_run_were_tried(finished: RunConfig) -> None:
    kinds = {path.suffix for path in finished.run.rglob("*") if path.suffix}
    tried = {Path(name).suffix for name in READERS}
    # tables for people, a log, and one byte a row, are read as text and as bytes
    assert kinds - tried <= {".md", ".csv", ".jsonl", ".present"}


@pytest.mark.parametrize("name", ["run.yaml", "answers.yaml"])
def test_yaml_makes_no_objects(name: str, mark: Path, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_text(f"run: !!python/object/apply:os.system ['touch {mark}']\n")
    for read in (RunConfig.from_yaml, lambda path: Wording.read("users", path)):
        with pytest.raises(HnlmrecError, match="this is not YAML"):
            read(file)
    assert not mark.exists()


def test_a_pickled_checkpoint_is_none(payload: bytes, tmp_path: Path) -> None:
    file = tmp_path / "checkpoint.safetensors"
    file.write_bytes(payload)
    model = torch.nn.Linear(2, 2)
    assert read_checkpoint(file, model, torch.optim.Adam(model.parameters())) is None


def test_a_run_with_a_planted_adapter_says_so(
    finished: RunConfig, payload: bytes, tmp_path: Path
) -> None:
    """The whole command: a file of the right size is found out, and made again."""
    run = tmp_path / "run"
    shutil.copytree(finished.run, run)
    file = run / "finetune/adapter.safetensors"
    file.write_bytes(payload + bytes(file.stat().st_size - len(payload)))
    shutil.rmtree(run / "synthesize")
    config = finished.model_copy(update={"run": run})
    out = io.StringIO()
    Pipeline(config, Reporter(Console(file=out, width=200))).run(["synthesize"])
    assert "damaged since it was written: adapter.safetensors" in out.getvalue()
    assert file.read_bytes() == (finished.run / "finetune/adapter.safetensors").read_bytes()


def test_tensors_of_other_names_are_refused(finished: RunConfig, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    run = tmp_path / "run"
    shutil.copytree(finished.run, run)
    for name in (
        f"{_SEMANTIC}/model.safetensors",
        "finetune/adapter.safetensors",
        "pretrain/embeddings.safetensors",
    ):
        save_file({"stranger": torch.zeros(2)}, run / name)
        with pytest.raises(HnlmrecError, match="cannot be read"):
            READERS[name](run)


# language models


def _edit(file: Path, **changes: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def _only_pickles(folder: Path, payload: bytes) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(payload)


def _pickles_beside(folder: Path, payload: bytes) -> None:
    (folder / "model.safetensors").rename(folder / "other.safetensors")
    (folder / "pytorch_model.bin").write_bytes(payload)


def _pickled_safetensors(folder: Path, payload: bytes) -> None:
    (folder / "model.safetensors").write_bytes(payload)


def _index(shard: str) -> Callable[[Path, bytes], None]:
    def plant(folder: Path, payload: bytes) -> None:
        (folder / "model.safetensors").rename(folder / "other.safetensors")
        (folder / "evil.bin").write_bytes(payload)
        index = {"metadata": {}, "weight_map": {"model.embed_tokens.weight": shard}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))

    return plant


def _pickled_lora(folder: Path, payload: bytes) -> None:
    (folder / "adapter_model.bin").write_bytes(payload)
    adapter = {"base_model_name_or_path": "evil/evil", "peft_type": "LORA", "r": 4}
    (folder / "adapter_config.json").write_text(
        json.dumps({**adapter, "target_modules": ["q_proj"], "task_type": "CAUSAL_LM"})
    )


def _code(folder: Path, payload: bytes) -> None:
    source = f"import pickle\npickle.loads({payload!r})\nclass Config: pass\nclass Model: pass\n"
    (folder / "evil.py").write_text(source)
    code = {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}
    _edit(folder / "config.json", auto_map=code, model_type="evil", trust_remote_code=True)


def _code_of_the_tokenizer(folder: Path, payload: bytes) -> None:
    _code(folder, payload)
    _edit(folder / "config.json", auto_map={}, model_type="llama")
    code = {"AutoTokenizer": ["evil.Model", "evil.Model"]}
    _edit(folder / "tokenizer_config.json", auto_map=code, tokenizer_class="Evil")


def _kernel(key: str) -> Callable[[Path, bytes], None]:
    return lambda folder, _: _edit(folder / "config.json", **{key: "evil/kernel"})


def _pickled_tokenizer(folder: Path, payload: bytes) -> None:
    (folder / "tokenizer.json").write_bytes(payload)


def _pickled_config(folder: Path, payload: bytes) -> None:
    (folder / "config.json").write_bytes(payload)


@pytest.mark.parametrize(
    "plant",
    [
        _only_pickles,
        _pickles_beside,
        _pickled_safetensors,
        _index("evil.bin"),
        _index("../evil.safetensors"),
        _index("/tmp/evil.safetensors"),
        _pickled_lora,
        _code,
        _code_of_the_tokenizer,
        _kernel("attn_implementation"),
        _kernel("_attn_implementation"),
        _kernel("experts_implementation"),
        _pickled_tokenizer,
        _pickled_config,
    ],
)
def test_a_model_is_data_alone(
    plant: Callable[[Path, bytes], None],
    tiny_model: Path,
    payload: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    plant(folder, payload)
    # at a terminal transformers would ask whether to run the code: say yes to whatever is asked
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    with pytest.raises(HnlmrecError) as caught:
        LocalLanguageModel.load(language_config(folder))
    assert str(folder) in str(caught.value)
    assert "trust_remote_code" not in str(caught.value)


def test_no_key_of_the_configuration_lets_a_model_bring_code() -> None:
    for changes in ({"trust_remote_code": True}, {"use_safetensors": False}):
        with pytest.raises(HnlmrecError, match="there is no such key"):
            RunConfig.from_dict({"language": changes})
