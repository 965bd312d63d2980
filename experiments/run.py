"""Running one experiment, from settings to a run directory."""

from experiments.catalog import EXPERIMENTS, name_of
from experiments.comparison import Comparison, compare
from experiments.events import Events
from experiments.figure import draw_figure
from experiments.run_directory import RunDirectory
from experiments.settings import TrainingSettings


def run_experiment(settings: TrainingSettings) -> Comparison:
    """Runs the experiment that some settings belong to.

    Prints its table and leaves a run directory with a figure behind.

    Args:
        settings: they have no problems.

    Returns:
        What was measured.
    """
    name = name_of(settings)
    path = settings.runs / (settings.name or name)
    events = Events(path / "tensorboard") if settings.tensorboard else None
    with RunDirectory(
        path, name, settings, force=settings.force, events=events
    ) as directory:
        comparison = compare(EXPERIMENTS[name], settings, directory)
        directory.finish(comparison.to_dict())
        files = draw_figure([comparison.drawing()], directory.path / "figures" / name)
        comparison.show()
        print("figure:", *files)
    return comparison
