"""The manifest on the disk is the JSON of what it holds, whatever was changed since it was last written."""

import json

from finetrial.store.manifest import Manifest, StepRecord


def test_after_every_change_the_file_is_the_json_of_the_content(tmp_path):
    manifest = Manifest(tmp_path / "manifest.json")

    def whole():
        return json.dumps(manifest.content, indent=2, ensure_ascii=False, default=str) + "\n"

    def check():
        assert (tmp_path / "manifest.json").read_text(encoding="utf-8") == whole()

    manifest.describe({"command": "finetrial run é\nx", "set": {}, "path": tmp_path, "nothing": None, "list": []})
    check()
    manifest.begin("tune:a", inputs={"the data": "1"})
    manifest.begin("tune:b", inputs={"the data": "2"})
    check()
    manifest.restore("tune:a", StepRecord({"the data": "1"}, {"arms/a": "x"}, {"beside": "y"}))
    check()
    manifest.restore("tune:a", StepRecord({"the data": "3"}, {}))
    manifest.restore("tune:b", StepRecord({"the data": "2"}, {}))
    check()
    manifest.describe({"resolved": {"a": {"stop": ["\n"], "shots": 3}}, "set": {"k": {"value": [1, {"a": "\n"}]}}})
    manifest.describe({"resolved": {"a": {"stop": ["\n"], "shots": 4}}})
    check()
    manifest.forget("tune:a")
    manifest.forget("tune:b")
    check()
    assert manifest.records == {} and manifest.content["resolved"]["a"]["shots"] == 4
    again = Manifest(tmp_path / "manifest.json")
    again.describe({"command": "x"})
    assert json.loads((tmp_path / "manifest.json").read_text())["resolved"] == {"a": {"stop": ["\n"], "shots": 4}}
