"""What is indexed for a student in context: catalogue and frequent queries as it reads them."""

from dataclasses import asdict

from distill.context_files import CATALOGUE_FILE, QUERIES_FILE, write_catalogue, write_queries
from distill.recipe_tables import StudentTable
from distill.stages.run import RecipeRun
from distill.stages.stage import Result, Stage
from distill.stages.students import context_inputs, graph_of
from distill.transfer_options import OnProgress
from distill.whole_file import written_whole
from evaluation.tables import rows


def context_stage(run: RecipeRun, table: StudentTable) -> Stage:
    """Texts of the graph that the student is evaluated with: `winnow index` takes both files.

    Raises:
        InputFileError, RecipeRefused: as `RecipeData.check_ids`.
    """
    if table.context is None:
        raise ValueError(f"student {table.name!r} has no context")
    run.data.check_ids(f"student {table.name!r} in context")
    folder = run.at("context", table.name)
    catalogue, queries = folder / CATALOGUE_FILE, folder / QUERIES_FILE

    def write(on_progress: OnProgress) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        graph = graph_of(run, table)
        with written_whole(catalogue) as unfinished:
            write_catalogue(graph, run.data.catalogue(), unfinished, on_progress)
        with written_whole(queries) as unfinished:
            write_queries(graph, None, unfinished)

    def result() -> Result:
        return {path.stem: sum(1 for _ in rows(path)) for path in (catalogue, queries)}

    inputs = context_inputs(run, table)
    inputs |= {f"the file of {name}": path for name, path in run.data.files.items()}
    return Stage(
        kind="context",
        name=table.name,
        options={
            **asdict(table.context.options),
            "temperature": table.temperature,
            "id_column": run.recipe.data.id_column,
            "title_column": run.recipe.data.title_column,
            "encoding": run.recipe.data.encoding,
        },
        inputs=inputs,
        outputs=lambda: [catalogue, queries],
        run=write,
        result=result,
        leaves=[folder],
    )
