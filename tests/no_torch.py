"""Source for a fresh Python process in which torch, or all of the extra `train`, is not installed."""

NO_TORCH = """
import sys
ABSENT = ('torch',)
class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in ABSENT:
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)
sys.meta_path.insert(0, NoTorch())
"""

NO_EXTRAS = NO_TORCH.replace("('torch',)", "('torch', 'onnx', 'onnxscript', 'safetensors')")
