"""The steps of an Assay study: a plain library, one module a step, that runs inside the image.

Nothing here imports `pipeline` or `kfp`. `components.study.study` and `components.errors` import no machine-learning
package.
"""
