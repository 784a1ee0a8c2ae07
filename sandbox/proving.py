"""Whether a function loads: by its template, or where only its instances load it, by one of these."""

from sandbox.spec import FunctionSpec
from sandbox.template import Template
from sandbox.tree import Tree


def is_proven(tree: Tree, spec: FunctionSpec) -> bool:
    """Whether this version has a template now that has shown already that the function loads."""
    template = tree.template_of(spec)
    if not isinstance(template, Template) or template.ended is not None:
        return False
    return spec.runtime.abilities.imports_ahead or template.has_borne


async def prove(tree: Tree, spec: FunctionSpec) -> Template:
    """This version's live template, once it is certain that the function loads. Raises LoadFailed and StartFailed."""
    template = await tree.load(spec)
    if not (spec.runtime.abilities.imports_ahead or template.has_borne):
        instance, _ = await tree.start(spec)
        instance.leave()
    return template
