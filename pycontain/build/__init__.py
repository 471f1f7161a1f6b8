"""Builds images from Dockerfiles.

General layout, in the order of the data's way:

    workspace.py    where the Dockerfile, the context and .dockerignore come from
    directives.py   `# escape=` and the other parser directives
    lines.py        physical lines -> logical lines; heredoc.py here-documents
    parser.py       logical lines -> instructions.py (plain operations); splitting.py, request.py its parts
    words.py        quotes, escapes, $variables
    planner.py      instructions -> steps.py (stages of steps, nothing left to look up);
                    evaluation.py one stage, arguments.py ARG, gotext.py texts of the history
    executor.py     steps -> layers; cache.py what was made before, running.py RUN
    source.py       where files come from: context.py, treesource.py, held.py; ignore.py .dockerignore
    selection.py    what COPY takes of them
    placing.py      puts it into a tree; owners.py --chown, modes.py --chmod, archive.py, remote.py ADD
    progress.py     what the user sees
    builder.py      all of it: build()

Common use:

    from pycontain.build.builder import build
    image = build(Store.open(), ".", tags=["hello"])
"""
