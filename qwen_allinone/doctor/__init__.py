"""What runs here and what the model is: installation, folders, devices, and one checkup of everything."""

from qwen_allinone.doctor.checkup import check, check_loaded
from qwen_allinone.doctor.examination import Devices, Examination, Folder, Missing, ModelFacts, examine

__all__ = ["Devices", "Examination", "Folder", "Missing", "ModelFacts", "check", "check_loaded", "examine"]
