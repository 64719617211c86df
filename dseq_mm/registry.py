"""Registries of this package's parts, with the scope ``dseq_mm``.

``type='dseq_mm.JEPA'`` is found from every library of OpenMMLab. Under
``default_scope='dseq_mm'`` a bare name means our part, else MMPretrain's, else
MMEngine's. MMPretrain's registries hold nothing of ours, so that no name can collide;
but they look here for what they lack: ``type='JEPA'`` under its scope and
``type='mmpretrain.JEPA'`` work, too.

Few parts are for other libraries' configs under their bare names, and are registered
with MMEngine: :class:`~dseq_mm.models.DenseViT`, transforms, initializations, the
optimizer's constructor for fine-tuning, and the wrapper of models, which MMEngine looks
for in its own registry.
"""

from mmengine.registry import Registry
from mmpretrain import registry as host

from .utils.host import find_also_in

SCOPE = 'dseq_mm'


class OwnRegistry(Registry):
    """A registry that goes on looking in one of MMPretrain's, and the other way.

    Args:
        host: MMPretrain's registry of the same kind.
    """

    def __init__(self, host: Registry) -> None:
        super().__init__(host.name, parent=host.parent, scope=SCOPE)
        self.host = host
        find_also_in(host, self)

    def get(self, key: str) -> type | None:
        """Find what is registered under a name.

        Args:
            key: The name, with or without a scope.

        Returns:
            The class or function; None if there is none.
        """
        scope, name = self.split_scope_key(key)
        if scope in (None, SCOPE) and name in self.module_dict:
            return self.module_dict[name]
        return super().get(key) if scope == SCOPE else self.host.get(key)


DATASETS = OwnRegistry(host.DATASETS)
EVALUATORS = OwnRegistry(host.EVALUATORS)
HOOKS = OwnRegistry(host.HOOKS)
LOOPS = OwnRegistry(host.LOOPS)
MODELS = OwnRegistry(host.MODELS)
OPTIM_WRAPPER_CONSTRUCTORS = OwnRegistry(host.OPTIM_WRAPPER_CONSTRUCTORS)
OPTIM_WRAPPERS = OwnRegistry(host.OPTIM_WRAPPERS)
PARAM_SCHEDULERS = OwnRegistry(host.PARAM_SCHEDULERS)
