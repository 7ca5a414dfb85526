"""A batch of batches: for every river, for every month, the mean water level; then the river that rose most."""

from statistics import mean

from pocketflow import BatchFlow, Flow, Node

LEVELS = {
    "arrow": {"april": [1.0, 1.2, 1.4], "may": [1.6, 2.0], "june": [2.0, 2.2]},
    "brill": {"april": [0.4, 0.6], "may": [2.5, 2.7, 2.9]},
    "crane": {"april": [3.0], "may": [3.1, 3.3]},
}


class ReadLevels(Node):
    def prep(self, shared):
        return shared["folder"] / self.params["river"] / f"{self.params['month']}.txt"

    def exec(self, path):
        return [float(line) for line in path.read_text(encoding="utf-8").split()]

    def post(self, shared, path, levels):
        shared["levels"] = levels


class MeanLevel(Node):
    def prep(self, shared):
        return shared["levels"]

    def exec(self, levels):
        return round(mean(levels), 2)

    def post(self, shared, levels, level):
        shared["means"].setdefault(self.params["river"], {})[self.params["month"]] = level


class EachMonth(BatchFlow):
    def prep(self, shared):
        paths = (shared["folder"] / self.params["river"]).glob("*.txt")
        return [{"month": path.stem} for path in sorted(paths)]

    def post(self, shared, param_sets, exec_res):
        months = shared["means"][self.params["river"]].values()
        shared["rises"][self.params["river"]] = round(max(months) - min(months), 2)


class EachRiver(BatchFlow):
    def prep(self, shared):
        return [{"river": path.name} for path in sorted(shared["folder"].iterdir())]


class Warn(Node):
    def prep(self, shared):
        return shared["rises"]

    def exec(self, rises):
        river = max(rises, key=rises.get)
        return f"The {river} rose by {rises[river]} m."

    def post(self, shared, rises, warning):
        shared["warning"] = warning


def make_flow():
    read = ReadLevels()
    read >> MeanLevel()
    rivers = EachRiver(start=EachMonth(start=read))
    rivers >> Warn()
    return Flow(start=rivers)


def make_shared(folder):
    for river, months in LEVELS.items():
        (folder / river).mkdir()
        for month, levels in months.items():
            (folder / river / f"{month}.txt").write_text("\n".join(map(str, levels)), encoding="utf-8")
    return {"folder": folder, "means": {}, "rises": {}}


def answer(shared):
    return shared["warning"], shared["means"]["brill"]
