"""What the loads of templates took: the tree makes them in the background, too, so a pool's starts do not tell."""

from dispatcher.announced import Announced
from dispatcher.start_costs import StartCosts
from sandbox.spec import FunctionSpec
from sandbox.template import Template
from sandbox.tree import Tree


class Loads:
    """Notes the loads of one function's templates in its `costs`."""

    def __init__(self, tree: Tree, costs: StartCosts) -> None:
        self._tree = tree
        self.costs = costs
        self._noted = 0
        """The number of the latest template whose load was noted."""

    def note(self, spec: FunctionSpec) -> bool:
        """Note what the load of the live template took, once. Return whether there is one that forks."""
        template = self._tree.template_of(spec)
        if not isinstance(template, Template):
            return False
        if template.n != self._noted:
            self._noted = template.n
            self.costs.note("load", template.load_ns)
            self.costs.note("boot", template.load_ns + template.zygote.boot_ns)
        return not template.must_become

    def set_leads(self, spec: FunctionSpec, announced: Announced) -> None:
        """Tell the pool how early to act for announced events, given whether the template lives now."""
        if announced:
            announced.leads = self.costs.leads(spec.init_timeout_s, has_template=self.note(spec))
