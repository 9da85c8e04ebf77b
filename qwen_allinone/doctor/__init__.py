"""What runs here and what the model is: installation, folders, devices, and one checkup of everything."""

from qwen_allinone.doctor.checkup import check, check_loaded
from qwen_allinone.doctor.examination import Devices, Examination, Folder, Missing, examine
from qwen_allinone.doctor.model_facts import ModelFacts

__all__ = ["Devices", "Examination", "Folder", "Missing", "ModelFacts", "check", "check_loaded", "examine"]
