"""The katas: small programming tasks of codojo's own, with references and sealed cases.

`load_katas` is all that others need; the modules beside it are read only when it is called.
"""

from codojo.tasks.katas.build import load_katas

__all__ = ["load_katas"]
