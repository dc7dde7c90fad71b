from dataclasses import dataclass
@dataclass
class Finding: pass
def inspect(r): return []
